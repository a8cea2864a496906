"""Computes a two-level convolution with PyTorch's own operators, where the engine is not available."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fxbin.engine.binary_conv2d import BinaryConv2d
from fxbin.engine.signs import pack_channels, unpack_channels, unpack_signs

LIMITS: dict[str, tuple[float, float | None]] = {
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "hardtanh": (-1.0, 1.0),
}
"""The smallest and the largest value of activations that limit values."""


def run_in_float(conv: BinaryConv2d) -> tuple[Tensor, ...]:
    """Return the output of `conv`, its bits, or both, bit-identical to those of the engine.

    Sums of at most 2 ** 23 zeros and signs are exact in float32, in whatever order a convolution adds them.
    Everything after the sums is computed in the engine's order: ``kernels/epilogue.h`` has the formula.
    """
    fired = _fired(conv)
    signs = unpack_signs(conv.weight_bits, fired.shape[1] // conv.groups, conv.kernel_size)
    low, high = conv.x_levels.unbind()
    half = ((conv.w_levels[1] - conv.w_levels[0]) / 2).view(-1, 1, 1)
    middle = ((conv.w_levels[1] + conv.w_levels[0]) / 2).view(-1, 1, 1)
    step, picture = high - low, torch.ones_like(fired[:1])
    added = conv.x_levels.new_zeros(()) if conv.bias is None else conv.bias.view(-1, 1, 1)
    if middle.any():
        ones = torch.ones_like(signs)
        active, inputs = _sums(conv, fired, ones), _sums(conv, picture, ones)
        added = added + middle * (step * active + low * inputs)
    if low != 0:
        added = added + half * (low * _sums(conv, picture, signs))
    y = (half * step) * _sums(conv, fired, signs) + added
    if conv.residual is not None:
        y += conv.residual.float()
    y = activated(y, conv.activation, conv.slope)
    made = [conv.new_output().copy_(y)] if conv.wants_floats else []
    if conv.y_thresholds is not None:
        made.append(conv.new_bits().copy_(pack_channels(y > conv.y_thresholds.view(-1, 1, 1))))
    return tuple(made)


def activated(y: Tensor, activation: str, slope: Tensor | None) -> Tensor:
    """`y` ``(n, f, h, w)`` after an activation; `slope` ``(f,)`` is that of "prelu", else None."""
    if slope is not None:
        return torch.where(y < 0, y * slope.view(-1, 1, 1), y)
    limits = LIMITS.get(activation)
    return y if limits is None else y.clamp(*limits)


def _fired(conv: BinaryConv2d) -> Tensor:
    """Return 1 where an input is above its threshold, else 0, in float32."""
    if conv.x.dtype == torch.int64:
        return unpack_channels(conv.x, conv.channels).float()
    return (conv.x > conv.thresholds.view(-1, 1, 1)).float()


def _sums(conv: BinaryConv2d, x: Tensor, weight: Tensor) -> Tensor:
    top, bottom, left, right = conv.padding
    padded = F.pad(x, (left, right, top, bottom))
    return F.conv2d(padded, weight, None, conv.stride, 0, conv.dilation, conv.groups).round_()
