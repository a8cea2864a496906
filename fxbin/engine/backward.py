"""The backward of a convolution and its binarizers, except for its two convolutions, by the engine."""

from ctypes import sizeof
from typing import NamedTuple

import torch
from torch import Tensor

from fxbin.engine.derivative import Derivative
from fxbin.engine.float_conv2d import Ends
from fxbin.engine.library import Engine
from fxbin.engine.memory import dense, in_layout, is_channels_last, place, thread_count
from fxbin.engine.structs import LevelCall, SteCall, WeightCall


def ste_gradients(
    engine: Engine, g: Tensor, x: Tensor, threshold: Tensor, high: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what the backward of NNCF's activation binarizer needs, in one pass over `g` and `x`.

    Shapes: g and x ``(n, c, h, w)``, float32, not empty; threshold ``(1, c, 1, 1)``.

    Returns:
        `g` where ``0 <= x <= high``, else 0; this overwrites `g` if it has the layout of x;
        1 where ``x > threshold``, else 0;
        float64 ``(c + 1,)``: the sum of `g` where ``0 < x < high`` for each channel, then the sum of ``g x``
        where ``x <= high``.
    """
    return _gradients(engine, g, x, threshold, (0.0, high), _WINDOW)


def estimated_gradients(
    engine: Engine,
    g: Tensor,
    x: Tensor,
    threshold: Tensor,
    levels: Ends,
    derivative: Derivative,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what the backward of a binarizer with another estimator needs, in one pass.

    With ``u = (x - threshold) / unit``, where the unit is half the distance between the `levels`, and e what
    the `derivative` is at u. Shapes as in `ste_gradients`; `threshold` may also be one number.

    Returns:
        ``g e``; this overwrites `g` if it has the layout of x;
        the high level where ``x > threshold``, else the low one;
        float64 ``(c + 2,)``: the sum of ``g e`` for each channel, then the sums of ``g e u`` and of g.
    """
    if threshold.numel() != x.shape[1]:
        threshold = threshold.expand(1, x.shape[1], 1, 1)
    return _gradients(engine, g, x, threshold, levels, derivative)


_WINDOW = Derivative(0)
"""NNCF's, which depends on more than u."""


def _gradients(
    engine: Engine,
    g: Tensor,
    x: Tensor,
    threshold: Tensor,
    levels: Ends,
    derivative: Derivative,
) -> tuple[Tensor, Tensor, Tensor]:
    is_last = is_channels_last(x)
    x, g = in_layout(x, is_last), in_layout(g, is_last)
    fired, threshold = torch.empty_like(x), dense(threshold)
    pictures, channels, height, width = x.shape
    sums = torch.empty(channels + (1 if derivative is _WINDOW else 2), dtype=torch.float64)
    g_place, size = g.data_ptr(), x.numel()
    engine.ste_gradients(
        SteCall(
            sizeof(SteCall), g_place, x.data_ptr(), g_place, fired.data_ptr(), size, pictures, channels,
            height * width, not is_last, threshold.data_ptr(), threshold.numel(), *levels, *derivative,
            sums.data_ptr(), sums.numel(), thread_count(),
        )
    )  # fmt: skip
    return g, fired, sums


def level_gradients(
    engine: Engine, grad_w: Tensor, w: Tensor, high: float, multiplier: float, sums: Tensor, t: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute gradients of the weight, ``log(high)`` and ``logit(t)``, from `grad_w` for an input of 0 and 1.

    The gradient of the levels contains the inner product of the convolution's input and its gradient. This
    equals the inner product of the weight and its gradient, because a convolution is linear in both. `grad_w`
    is overwritten if it has no gaps.

    Shapes: grad_w and w ``(f, c / groups, kh, kw)``; sums as returned by `ste_gradients`; t ``(1, c, 1, 1)``.
    Returns: like w, ``(1,)`` and ``(1, c, 1, 1)``; the second is not finite if a sum is not.
    """
    is_last = is_channels_last(grad_w)
    grad_w, w = in_layout(grad_w, is_last), in_layout(w, is_last)
    grad_scale, grad_logit = t.new_empty(1), torch.empty_like(t)
    engine.level_gradients(
        LevelCall(
            sizeof(LevelCall), grad_w.data_ptr(), w.data_ptr(), grad_w.numel(), high, multiplier,
            sums.data_ptr(), sums.numel(), t.data_ptr(), t.numel(), grad_scale.data_ptr(),
            grad_logit.data_ptr(),
        )
    )  # fmt: skip
    return grad_w, grad_scale, grad_logit


_OfLevels = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Gradients of threshold, low and high."""


class InputLevels(NamedTuple):
    """What the gradients of a convolution's input levels follow from, besides its weight."""

    sums: Tensor
    """As returned by `estimated_gradients`."""
    levels: Ends
    """Low and high."""
    threshold: Tensor
    """Of each channel, or one for all: its shape is that of its gradient."""
    is_symmetric: bool = False
    """Whether low is -high, and only high gets a gradient: that of high minus that of low."""


class WeightGradients(NamedTuple):
    """What `weight_gradients` returns."""

    of_w: Tensor | None
    products: Tensor | None
    of_center: Tensor | None
    of_levels: _OfLevels


NO_GRADIENTS = WeightGradients(None, None, None, (None, None, None))
"""Where none is wanted."""


def weight_gradients(
    engine: Engine,
    g: Tensor,
    w: Tensor,
    scale: Tensor | None,
    derivative: Derivative,
    is_scaled: bool,
    inputs: InputLevels | None,
    center: Tensor | None = None,
    *,
    wants_products: bool = True,
) -> WeightGradients:
    """Compute all gradients that follow from that of a two-level weight, `g`, in one pass over it.

    The weight is a where w > 0, else -a, with the `scale` a, plus the `center`; without a scale, it is w
    itself. `g` is overwritten if it has no gaps.

    Shapes: g and w ``(f, c / groups, kh, kw)``; scale and center one number, or ``(f, 1, 1, 1)``.

    Returns:
        the gradient of w: ``g e``, where e is what the `derivative` is at w, times a if it `is_scaled`;
        without a scale, g;
        if it `wants_products`, ``(f,)``: for each filter, the sum of g where w > 0 minus that of all other g;
        with a center, its gradient: sums of g;
        with `inputs`: the gradients of threshold ``(1, c, 1, 1)`` or ``(1, 1, 1, 1)``, low and high ``(1,)``,
        that of low None if they are symmetric.
    """
    is_last, filters = is_channels_last(g), g.shape[0]
    g, w = in_layout(g, is_last), in_layout(w, is_last)
    scale = None if scale is None else dense(scale)
    products = torch.empty(filters) if wants_products else None
    call = WeightCall(
        sizeof(WeightCall), g.data_ptr(), w.data_ptr(), w.numel(), filters, *place(scale), *derivative,
        is_scaled, place(products)[0],
    )  # fmt: skip
    of_center, of_levels = None, NO_GRADIENTS.of_levels
    if center is not None:
        of_center = g.sum_to_size(center.shape)
        call.more = (of_center.double() * center).sum().item()
    if inputs is not None:
        of_levels = _places_for_levels(call, inputs)
    engine.weight_gradients(call)
    return WeightGradients(g, products, of_center, of_levels)


def _places_for_levels(call: WeightCall, inputs: InputLevels) -> _OfLevels:
    """New tensors, into which `call` will write the gradients of threshold, low and high."""
    of_threshold, of_levels = torch.empty(inputs.threshold.shape), torch.empty(2 - inputs.is_symmetric)
    call.sums, call.sums_size = place(inputs.sums)
    call.low, call.high = inputs.levels
    call.grad_thresholds, call.grad_thresholds_size = place(of_threshold)
    call.grad_levels, call.grad_levels_size = place(of_levels)
    low, high = (None, of_levels) if inputs.is_symmetric else (of_levels[:1], of_levels[1:])
    return of_threshold, low, high
