"""The backward of a convolution and its binarizers, except for its two convolutions, by the engine."""

from ctypes import sizeof

import torch
from torch import Tensor

from fxbin.engine.library import Engine, LevelCall, SteCall
from fxbin.engine.memory import dense, in_layout, is_channels_last, thread_count


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


def approx_sign_gradients(
    engine: Engine, g: Tensor, x: Tensor, threshold: Tensor, levels: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what the backward of a binarizer with the estimator `ApproxSign` needs, in one pass.

    With ``u = (x - threshold) / unit``, where the unit is half the distance between the `levels`, and
    ``e = max(0, 2 - 2 abs(u))``. Shapes as in `ste_gradients`.

    Returns:
        ``g e``; this overwrites `g` if it has the layout of x;
        the high level where ``x > threshold``, else the low one;
        float64 ``(c + 2,)``: the sum of ``g e`` for each channel, then the sums of ``g e u`` and of g.
    """
    return _gradients(engine, g, x, threshold, levels, _APPROX_SIGN)


_WINDOW, _APPROX_SIGN = range(2)
"""The C enum ``fxbin_estimator``."""


def _gradients(
    engine: Engine,
    g: Tensor,
    x: Tensor,
    threshold: Tensor,
    levels: tuple[float, float],
    estimator: int,
) -> tuple[Tensor, Tensor, Tensor]:
    is_last = is_channels_last(x)
    x, g = in_layout(x, is_last), in_layout(g, is_last)
    fired, threshold = torch.empty_like(x), dense(threshold)
    pictures, channels, height, width = x.shape
    sums = torch.empty(channels + 1 + estimator, dtype=torch.float64)
    g_place, size = g.data_ptr(), x.numel()
    engine.ste_gradients(
        SteCall(
            sizeof(SteCall), g_place, x.data_ptr(), g_place, fired.data_ptr(), size, pictures, channels,
            height * width, not is_last, threshold.data_ptr(), threshold.numel(), *levels, estimator,
            sums.data_ptr(), len(sums), thread_count(),
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
