"""A backward that can be differentiated no further, and says so wherever somebody asks for it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from fxbin.onlookers import is_transformed

Backward = Callable[..., Any]


def first_derivative_only(backward: Backward) -> Backward:
    """Decorator for a backward without a derivative: RuntimeError where that is needed.

    `once_differentiable` of torch cuts the gradient off from what it was computed of. Code that takes a
    missing connection for a derivative of 0, as `torch.autograd.functional.hessian` does, would get that.
    """

    @wraps(backward)
    def run(ctx: Any, *grads: Any) -> Any:
        # A compiler looks through this; `torch.func` counts its levels: see `check_differentiated_once`.
        if torch.compiler.is_compiling() or not torch.is_grad_enabled() or is_transformed():
            return backward(ctx, *grads)
        with torch.no_grad():
            results = backward(ctx, *grads)
        # The last time that these are asked for, as activation checkpointing gives each of them once.
        sources = [x for x in (*grads, *ctx.saved_tensors) if isinstance(x, Tensor) and x.requires_grad]
        if not sources:
            return results
        return tuple(None if x is None else _Last.apply(x, *sources) for x in results)  # type: ignore[no-untyped-call]

    return run


class _Last(Function):
    """Passes a gradient on, connected with what it was computed of, to a backward that only raises."""

    @staticmethod
    def forward(_ctx: Any, gradient: Tensor, *_sources: Tensor) -> Tensor:
        return gradient.detach()

    @staticmethod
    def backward(_ctx: Any, *_grads: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice: a straight-through estimator has no second derivative. "
            "Differentiate once, or switch the binarizers off"
        )
