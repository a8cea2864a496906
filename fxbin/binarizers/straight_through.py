"""Two-level functions whose backward is not their (zero) derivative: straight-through estimators."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from fxbin.binarizers import cpu_passes
from fxbin.binarizers.axes import all_but_channels
from fxbin.binarizers.first_derivative import first_derivative_only
from fxbin.onlookers import check_differentiated_once, is_exported, is_scripted, is_transformed


class BinarizeWeight(Function):
    """Give a weight two levels, with an identity straight-through estimator.

    Forward:   y = +a where w > 0, else -a. Zero, of either sign, goes to -a.
    Backward:  dL/dw = dL/dy, everywhere; a gets no gradient.

    Shapes:    w and y ``(out, in / groups, kh, kw)``; a broadcasts to w.
    Units:     a and y have those of w.
    Errors:    RuntimeError on a second derivative.
    Limits:    a NaN in w makes a NaN if a is a mean over w, and so y as well: nothing is hidden.
    Source:    Rastegari et al. 2016, arXiv:1603.05279, section 3.1: W ~ a B with B = sign(W). The paper
               clips the gradient to |w| <= 1 and passes one through a; here, as in NNCF 2.9, neither.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(w: Tensor, a: Tensor) -> Tensor:
        """See the class."""
        if cpu_passes.applies_to(w):
            return cpu_passes.signs(w, a)
        return torch.where(w > 0, a, -a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _output: Tensor) -> None:
        """Save the inputs for `computed_again`; the backward itself needs no values."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def computed_again(ctx: Any) -> Tensor:
        """Recompute the output from the saved tensors."""
        return BinarizeWeight.forward(*ctx.saved_tensors)

    @staticmethod
    @first_derivative_only
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
               `nonnegative` says that no x is below 0, which saves a pass.
    Units:     s has those of x; t has none, as a fraction of s. m multiplies two gradients, see
               `compression_lr_multiplier`.
    Dtypes:    y has that of x; s and s t are rounded to it before x is compared with them.
    Errors:    RuntimeError on a second derivative.
    Limits:    s > 0 and 0 <= t <= 1: the backward relies on y = s wherever x > s. A NaN in x adds nothing to
               any gradient (NNCF: g to that of s). See `fxbin.binarizers.cpu_passes` for subnormal numbers.
    Source:    NNCF 2.9, ``ActivationBinarizationScaleThresholdFn`` on a CPU; there is no paper. The window is
               that of the clipped estimator of DoReFa-Net, arXiv:1606.06160, section 2.3.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, s: Tensor, t: Tensor, _m: float, strict: bool, _nonnegative: bool) -> Tensor:
        """See the class."""
        threshold, s = _levels(x, s, t)
        if cpu_passes.applies_to(x):
            y = cpu_passes.levels(x, threshold, s)
        else:
            y = torch.where(x > threshold, s, torch.zeros_like(s))
        return y.add_(x, alpha=0) if strict else y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Tensor) -> None:
        """Save the inputs only: masks are cheaper to recompute than to keep."""
        x, s, t, ctx.m, ctx.strict, ctx.nonnegative = inputs
        ctx.save_for_backward(x, s, t)
        ctx.again = None

    @staticmethod
    def computed_again(ctx: Any) -> Tensor:
        """Recompute the output from the saved tensors, and keep both for the backward that follows."""
        if ctx.again is None:
            x, s, t = ctx.saved_tensors
            y = BinarizeActivation.forward(x, s, t, ctx.m, ctx.strict, ctx.nonnegative)
            ctx.again = x, s, t, y  # torch.utils.checkpoint gives each saved tensor once
        output: Tensor = ctx.again[-1]
        return output

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """See the class."""
        x, scale, t, y = ctx.again or (*ctx.saved_tensors, None)
        ctx.again = None
        threshold, s = _levels(x, scale, t)
        found = None
        if cpu_passes.applies_to(x):
            y = cpu_passes.levels(x, threshold, s) if y is None else y
            found = cpu_passes.gradients(g, x, s, y, nonnegative=ctx.nonnegative)
        grad_x, grad_s, grad_t = found or formula_gradients(g, x, threshold, s, scale.dtype)
        grad_s = torch.ones_like(scale) * (grad_s * ctx.m)
        return grad_x, grad_s, grad_t.mul(ctx.m).to(t.dtype).view_as(t), None, None, None


def formula_gradients(
    g: Tensor, x: Tensor, threshold: Tensor, s: Tensor, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Gradients of x, s and t for m = 1, as `BinarizeActivation` defines them; any x, NaN included.

    `threshold` is s t as ``(c, 1, 1)``; `s` is ``(1,)`` in the dtype of x; the sums are taken in `dtype`.
    """
    below = x <= s
    # As y = s H, the factor of g in dL/ds is H - x / s where x <= s, and H elsewhere.
    # Not written x > threshold: a compiler would recognize it from forward, and save the mask.
    high = (threshold < x).to(x.dtype)
    grad_s = (g * torch.where(below, high - x / s, high)).sum(dtype=dtype)
    zero = torch.zeros_like(s)
    grad_x = torch.where((x >= 0) & below, g, zero)
    grad_t = torch.where((x > 0) & (x < s), g, zero).sum(all_but_channels(x), dtype=dtype).neg()
    return grad_x, grad_s, grad_t


def binarize_weight(w: Tensor, a: Tensor) -> Tensor:
    """Weight `w` with the levels -a and +a: `BinarizeWeight` as a function."""
    return apply_function(BinarizeWeight, w, a)


def binarize_activation(x: Tensor, s: Tensor, t: Tensor, m: float = 1.0, *, strict: bool = False) -> Tensor:
    """Activation `x` with the levels 0 and s: `BinarizeActivation` as a function."""
    nonnegative = False
    if strict and cpu_passes.applies_to(x):
        # One pass that only reads answers both: is any value not finite, and is any negative.
        low, high = cpu_passes.value_range(x)
        strict, nonnegative = not (math.isfinite(low) and math.isfinite(high)), low >= 0
    is_compiled = torch.compiler.is_dynamo_compiling() and not is_exported()
    if is_compiled and torch.is_grad_enabled():
        # A compiler never recomputes the input of a convolution: it would keep y in addition to x.
        y: Tensor = checkpoint(BinarizeActivation.apply, x, s, t, m, strict, nonnegative, use_reentrant=False)
        return y
    return apply_function(BinarizeActivation, x, s, t, m, strict, nonnegative)


def apply_function(function: type[Function], *args: Any) -> Tensor:
    """``function.apply(*args)``, without binding the arguments to the signature of forward where possible.

    For a small weight the binding takes four times as long as everything else. `torch.func` needs it, and
    compilers support nothing else.
    """
    if torch.compiler.is_compiling() or is_transformed():
        check_differentiated_once()
        y: Tensor = function.apply(*args)
    elif is_scripted():
        # TorchScript differentiates operators only: no gradient is better than a wrong one.
        y = function.forward(*args).detach()
    else:
        y = super(Function, function).apply(*args)  # type: ignore[misc]
    return y


def _levels(x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The threshold s t as ``(c, 1, 1)`` and s as ``(1,)``, in the dtype of `x`."""
    return (t * s).view(-1, 1, 1).to(x.dtype), s.to(x.dtype)
