"""A two-level convolution whose input and weight are given in float, as during training."""

from ctypes import sizeof
from functools import lru_cache

import torch
from torch import Tensor

from fxbin.engine.binary_conv2d import output_size
from fxbin.engine.library import Engine
from fxbin.engine.memory import Like, aligned, dense, extent, extent_of, is_channels_last, thread_count
from fxbin.engine.structs import ConvShape, FloatCall

Pair = tuple[int, int]
Geometry = tuple[Pair, Pair, Pair, int]
"""Stride, padding and dilation, each vertical and horizontal, and the number of groups."""

Ends = tuple[float, float]
"""The low and the high level of inputs."""

MOST_INPUTS = 2**23
"""Maximum number of inputs of a filter for which sums are exact in float32."""


class FloatConv2d:
    """A convolution of float32 inputs and weights of fixed shapes, created by `prepared`.

    It holds no tensors. Threads may share it.
    """

    def __init__(self, call: FloatCall, y: Like) -> None:
        self._call, self._y = call, y

    def run(
        self,
        engine: Engine,
        x: Tensor,
        threshold: Tensor,
        levels: Ends,
        w: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        center: Tensor | None = None,
    ) -> Tensor:
        """Return ``conv2d(where(x > threshold, high, low), center + where(w > 0, scale, -scale), bias)``.

        `levels` are low and high; a `center` of None is 0.

        It is computed on bits, with exact sums. Nothing is kept of the weight, because training changes it at
        every step.

        Shapes: x ``(n, c, h, w)``; threshold ``(1, c, 1, 1)``; w ``(f, c / groups, kh, kw)``; scale and
                center one number, or ``(f, 1, 1, 1)``; bias ``(f,)``.
        """
        x, threshold, w, scale = aligned(x), *map(dense, (threshold, w, scale))
        y = self._y.make()
        call = FloatCall.from_buffer_copy(self._call)
        call.x.data, call.y.data = x.data_ptr(), y.data_ptr()
        call.thresholds, call.thresholds_size = threshold.data_ptr(), threshold.numel()
        call.weight, call.weight_size = w.data_ptr(), w.numel()
        call.scales, call.scales_size = scale.data_ptr(), scale.numel()
        if center is not None:
            center = dense(center)
            call.centers, call.centers_size = center.data_ptr(), center.numel()
        if bias is not None:
            bias = dense(bias)
            call.bias, call.bias_size = bias.data_ptr(), bias.numel()
        call.low, call.high = levels
        call.threads = thread_count()
        engine.convolve_floats(call)
        return y


def is_by_filter(scale: Tensor, w: Tensor) -> bool:
    """Whether `scale` is float32 and has one value for each filter of `w`, or one for all."""
    return scale.dtype == torch.float32 and (scale.numel() == 1 or scale.shape == (w.shape[0], 1, 1, 1))


def prepared(
    x: Tensor, w: Tensor, scale: Tensor, bias: Tensor | None, geometry: Geometry
) -> FloatConv2d | None:
    """Return what convolves these; None if the engine cannot, or if they do not fit (PyTorch then raises)."""
    if not (
        is_by_filter(scale, w) and (bias is None or (bias.shape == (len(w),) and bias.dtype == torch.float32))
    ):
        return None
    # `F.conv2d` chooses the layout of its output in the same way.
    is_last = is_channels_last(x) or is_channels_last(w)
    return _of_shapes(x.shape, x.stride(), w.shape, geometry, is_last)


@lru_cache(maxsize=1024)
def _of_shapes(
    x: torch.Size, x_stride: tuple[int, ...], w: torch.Size, geometry: Geometry, is_last: bool
) -> FloatConv2d | None:
    stride, (down, across), dilation, groups = geometry
    padding = down, down, across, across
    filters, channels, *kernel_size = w
    if not (
        0 not in (*x, *w)
        and x[1] == channels * groups
        and filters % groups == 0
        and channels * w[2:].numel() <= MOST_INPUTS
        and min(*stride, *dilation) > 0
        and min(padding) >= 0
    ):
        return None
    height, width = output_size(x[2:], kernel_size, stride, padding, dilation)
    if min(height, width) < 1:
        return None
    layout = torch.channels_last if is_last else torch.contiguous_format
    y = torch.empty((x[0], filters, height, width), memory_format=layout)
    shape = ConvShape(x[1], filters, groups, (kernel_size[0], kernel_size[1]), stride, dilation, padding)
    call = FloatCall(sizeof(FloatCall), shape.as_struct())
    call.x, call.y = extent_of(x, x_stride), extent(y)
    return FloatConv2d(call, Like(y))
