"""A function with two levels whose gradients follow from an estimator: for all but NNCF's binarizers."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from fxbin.binarizers.estimators import Estimator
from fxbin.binarizers.first_derivative import first_derivative_only
from fxbin.binarizers.levels import Levels
from fxbin.binarizers.straight_through import apply_function


class TwoLevels(Function):
    """Give x two levels, with the gradients that an estimator defines.

    Forward:   y = high where x > b, else low. With `strict`, y is NaN where x is not finite.
    Backward:  with G = dL/dy, u = (x - b) / unit, e = the estimator's derivative at u, and H = 1 where x > b,
               else 0:
               dL/dx = factor e G;
               dL/db = minus the sum of factor e G;
               dL/dhigh = the sum of H G; dL/dlow = the sum of (1 - H) G;
               dL/dunit = minus the sum of factor e u G.
               These are the gradients of (low + high) / 2 + (high - low) / 2 f(u) for a function f with the
               values of sign and the derivative e, if factor = (high - low) / (2 unit).

    Shapes:    b, low, high, unit and factor broadcast to x, which has the shape of y; progress is 0-d.
    Dtypes:    y has that of x; b, low, high and unit are rounded to it.
    Errors:    RuntimeError on a second derivative.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor,
        b: Tensor,
        low: Tensor,
        high: Tensor,
        _unit: Tensor,
        _factor: Tensor | None,
        _progress: Tensor | None,
        _estimator: Estimator,
        strict: bool,
    ) -> Tensor:
        """See the class."""
        y = torch.where(x > b.to(x.dtype), high.to(x.dtype), low.to(x.dtype))
        return y.add_(x, alpha=0) if strict else y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Tensor) -> None:
        """Save the inputs only: the output is cheap to compute again."""
        *tensors, ctx.estimator, ctx.strict = inputs
        ctx.save_for_backward(*tensors)
        ctx.again = None

    @staticmethod
    def computed_again(ctx: Any) -> Tensor:
        """Recompute the output from the saved tensors, and keep these for the backward that follows."""
        if ctx.again is None:
            tensors = ctx.saved_tensors  # torch.utils.checkpoint gives each saved tensor once
            arguments: Any = (*tensors, ctx.estimator, ctx.strict)
            ctx.again = tensors, TwoLevels.forward(*arguments)
        output: Tensor = ctx.again[1]
        return output

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """See the class."""
        x, b, low, high, unit, factor, progress = ctx.again[0] if ctx.again else ctx.saved_tensors
        ctx.again = None
        wanted = ctx.needs_input_grad
        distance = x - b.to(x.dtype)
        u = distance / unit.to(x.dtype)
        grad_x = g * ctx.estimator.derivative(u, progress)
        if factor is not None:
            grad_x = grad_x * factor.to(x.dtype)
        above = g * (distance > 0) if wanted[2] or wanted[3] else g
        return (
            grad_x if wanted[0] else None,
            _sum_to(grad_x, b).neg() if wanted[1] else None,
            _sum_to(g - above, low) if wanted[2] else None,
            _sum_to(above, high) if wanted[3] else None,
            _sum_to(grad_x * u, unit).neg() if wanted[4] else None,
            *(None, None, None, None),
        )


def two_levels(
    x: Tensor,
    levels: Levels,
    unit: Tensor,
    estimator: Estimator,
    *,
    factor: Tensor | None = None,
    progress: Tensor | None = None,
    strict: bool = False,
) -> Tensor:
    """`x` with the two `levels`: `TwoLevels` as a function."""
    # One by one, as Dynamo of torch 2.9 does not unpack a dataclass into a call.
    threshold, low, high = levels.threshold, levels.low, levels.high
    return apply_function(TwoLevels, x, threshold, low, high, unit, factor, progress, estimator, strict)


def _sum_to(values: Tensor, like: Tensor) -> Tensor:
    """`values` summed over the axes in which `like` is repeated; shape and dtype of `like`."""
    dtype = torch.promote_types(like.dtype, values.dtype)
    return values.to(dtype).sum_to_size(like.shape).to(like.dtype)
