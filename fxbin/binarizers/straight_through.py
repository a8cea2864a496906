"""Two-level functions whose backward is not their (zero) derivative: straight-through estimators."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class BinarizeWeight(Function):
    """Give a weight two levels, with an identity straight-through estimator.

    Forward:   y = +a where w > 0, else -a. Zero, of either sign, goes to -a.
    Backward:  dL/dw = dL/dy, everywhere; a gets no gradient.

    Shapes:    w and y ``(out, in / groups, kh, kw)``; a broadcasts to w.
    Units:     a and y have those of w.
    Errors:    RuntimeError on a second derivative.
    Limits:    a NaN in w makes a, if that is a mean of w, and so y NaN: nothing is hidden.
    Source:    Rastegari et al. 2016, arXiv:1603.05279, section 3.1: W ~ a B with B = sign(W). The paper
               clips the gradient to |w| <= 1 and passes one through a; here, as in NNCF 2.9, neither.
    """

    @staticmethod
    def forward(w: Tensor, a: Tensor) -> Tensor:
        """See the class."""
        return _indicator(torch.gt, w, 0).mul_(2 * a).sub_(a)

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

    Forward:   y = s where x > s t, else 0. Strict: x = s t goes to 0, and so does NaN. With `strict`, y is
               NaN where x is not finite, so that it shows in the loss.
    Backward:  with g = dL/dy,
               dL/dx = g where 0 <= x <= s, else 0;
               dL/ds = m times the sum of g (y - x) / s where x <= s, and of g where x > s;
               dL/dt = -m times the sum of g where 0 < x < s, for each channel: not multiplied by s, and
               with a window open at both ends, unlike that of x.

    Shapes:    x and y ``(n, c, h, w)`` or ``(c, h, w)``; s ``(1,)``; t ``(1, c, 1, 1)``; m a Python number.
    Units:     s has those of x, t none: it is a fraction of s. m multiplies two gradients, see
               `compression_lr_multiplier`.
    Dtypes:    y has that of x; s and s t are rounded to it before x is compared with them.
    Errors:    RuntimeError on a second derivative.
    Limits:    s > 0 and 0 <= t <= 1: the backward relies on y = s wherever x > s. A NaN in x adds nothing to
               any gradient (NNCF: g to that of s).
    Source:    NNCF 2.9, ``ActivationBinarizationScaleThresholdFn`` on a CPU; there is no paper. The window is
               that of the clipped estimator of DoReFa-Net, arXiv:1606.06160, section 2.3.
    """

    @staticmethod
    def forward(x: Tensor, s: Tensor, t: Tensor, _m: float, strict: bool) -> Tensor:
        """See the class."""
        threshold, s = _levels(x, s, t)
        y = _indicator(torch.gt, x, threshold).mul_(s)
        return y.add_(x, alpha=0) if strict else y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float, bool], _output: Tensor) -> None:
        """Keep the inputs only: masks are cheaper to compute again than to hold."""
        x, s, t, ctx.m, _strict = inputs
        ctx.save_for_backward(x, s, t)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """See the class. Two buffers of the size of x, overwritten by passes that a CPU vectorizes."""
        x, scale, t = ctx.saved_tensors
        threshold, s = _levels(x, scale, t)

        # As y = s H, the factor of g in dL/ds is H - x / s where x <= s, and H elsewhere.
        below = _indicator(torch.le, x, s)
        below = _select(x, below, out=below).div_(s)
        # Not written x > threshold: a compiler would see that forward computed it and save the mask.
        factor = torch.lt(threshold, x, out=torch.empty_like(x)).sub_(below)
        grad_s = _inner(g, factor, scale.dtype)

        window = torch.ge(x, 0, out=factor).mul_(torch.le(x, s, out=below))
        grad_x = _select(g, window, out=window)

        inside = torch.lt(x, s, out=below).mul_(grad_x)
        inside = _select(inside, x, out=inside)
        axes = [axis for axis in range(x.dim()) if axis != x.dim() - 3]
        grad_t = inside.sum(axes, dtype=t.dtype)
        return grad_x, grad_s.mul(ctx.m).view_as(scale), grad_t.mul(-ctx.m).view_as(t), None, None


def binarize_weight(w: Tensor, a: Tensor) -> Tensor:
    """`BinarizeWeight` as a function."""
    y: Tensor = BinarizeWeight.apply(w, a)  # type: ignore[no-untyped-call]
    return y


def binarize_activation(x: Tensor, s: Tensor, t: Tensor, m: float = 1.0, *, strict: bool = False) -> Tensor:
    """`BinarizeActivation` as a function."""
    y: Tensor = BinarizeActivation.apply(x, s, t, m, strict)  # type: ignore[no-untyped-call]
    return y


def _levels(x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The threshold s t as ``(c, 1, 1)`` and s as ``(1,)``, in the dtype of `x`."""
    return (t * s).view(-1, 1, 1).to(x.dtype), s.to(x.dtype)


def _indicator(compare: Callable[..., Tensor], x: Tensor, bound: Tensor | float) -> Tensor:
    """1 where ``compare(x, bound)``, else 0, in the dtype and memory format of `x`.

    Written straight into a float buffer that the caller may overwrite: on a CPU a boolean mask with
    `torch.where` or a mixed product takes three to ten times as long.
    """
    return compare(x, bound, out=torch.empty_like(x))


def _select(x: Tensor, where_positive: Tensor, out: Tensor) -> Tensor:
    """Write `x` to `out` where the second is above 0, else 0, even if x is infinite or NaN there.

    `torch.where` by another name: the gradient of a ReLU is the selection that is vectorized on a CPU.
    """
    torch.ops.aten.threshold_backward.grad_input(x, where_positive, 0.0, grad_input=out)
    return out


def _inner(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """``sum(a b)`` as a 0-d tensor of `dtype`; without a temporary where layout and dtype allow it."""
    if a.dtype == dtype:
        if a.is_contiguous() and b.is_contiguous():
            return torch.dot(a.view(-1), b.view(-1))
        channels_last = torch.channels_last
        if a.is_contiguous(memory_format=channels_last) and b.is_contiguous(memory_format=channels_last):
            return torch.dot(a.permute(0, 2, 3, 1).reshape(-1), b.permute(0, 2, 3, 1).reshape(-1))
    return (a * b).sum(dtype=dtype)
