"""Two-level functions whose backward is not their (zero) derivative: straight-through estimators."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class BinarizeWeight(Function):
    """Give a weight two levels, with an identity straight-through estimator.

    Forward:   y = +a where w > 0, else -a. Zero (of either sign) and NaN go to -a.
    Backward:  dL/dw = dL/dy, everywhere; a gets no gradient.

    Shapes:    w and y ``(out, in / groups, kh, kw)``; a broadcasts to w.
    Units:     a and y have those of w.
    Errors:    RuntimeError on a second derivative.
    Source:    Rastegari et al. 2016, arXiv:1603.05279, section 3.1, W ~ alpha B with B = sign(W). There
               the gradient is clipped to |w| <= 1 and alpha has one of its own (eq. after algorithm 1);
               here, as in NNCF 2.9, neither.
    """

    @staticmethod
    def forward(w: Tensor, a: Tensor) -> Tensor:
        """See the class."""
        return torch.where(w > 0, a, -a)

    @staticmethod
    def setup_context(_ctx: Any, _inputs: tuple[Tensor, Tensor], _output: Tensor) -> None:
        """Nothing to keep: the backward needs no values."""

    @staticmethod
    @once_differentiable
    def backward(_ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """See the class."""
        return grad_y, None


class BinarizeActivation(Function):
    """Give an activation two levels, with learnable scale and threshold.

    Forward:   y = s where x > s t, else 0. Strict: x = s t goes to 0, and so does NaN.
    Backward:  dL/dx = g where 0 <= x <= s, else 0;
               dL/ds = sum of g (y - x) / s where x <= s, of g elsewhere (NaN included);
               dL/dt = -(sum of g where 0 < x < s) per channel. Not multiplied by s, and strict, unlike
               the window of x. With g = dL/dy. Both last ones are multiplied by `multiplier`.

    Shapes:    x and y ``(n, c, h, w)`` or ``(c, h, w)``; s ``(1,)``; t ``(1, c, 1, 1)``.
    Units:     s has those of x, t none: it is a fraction of s.
    Dtypes:    y has that of x; levels are rounded to it before x is compared to them.
    Errors:    RuntimeError on a second derivative.
    Limits:    s > 0 and 0 <= t <= 1: the backward relies on y = s wherever x > s.
    Source:    NNCF 2.9 (``ActivationBinarizationScaleThresholdFn``, CPU), which has no paper. The window
               follows the clipped estimator of DoReFa-Net, arXiv:1606.06160, section 2.3.
    """

    @staticmethod
    def forward(x: Tensor, s: Tensor, t: Tensor, _multiplier: float) -> Tensor:
        """See the class."""
        threshold, s = _as_levels(x, s, t)
        return torch.where(x > threshold, s, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float], _output: Tensor) -> None:
        """Keep the inputs; masks are cheaper to compute again than to hold."""
        x, s, t, ctx.multiplier = inputs
        ctx.save_for_backward(x, s, t)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """See the class."""
        x, scale, t = ctx.saved_tensors
        threshold, s = _as_levels(x, scale, t)
        grad_x = g * ((x >= 0) & (x <= s))
        share = torch.where(x <= s, (torch.where(x > threshold, s, 0) - x) / s, 1)
        grad_s = (g * share).sum(dtype=scale.dtype).mul(ctx.multiplier).view_as(scale)
        inside = g * ((x > 0) & (x < s))
        axes = [axis for axis in range(x.dim()) if axis != x.dim() - 3]
        grad_t = inside.sum(axes, dtype=t.dtype).mul(-ctx.multiplier).view_as(t)
        return grad_x, grad_s, grad_t, None


def _as_levels(x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The threshold s t as ``(c, 1, 1)`` and s as ``(1,)``, in the dtype of `x`."""
    return (t * s).view(-1, 1, 1).to(x.dtype), s.to(x.dtype)
