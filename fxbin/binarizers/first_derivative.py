"""Makes a second derivative an error, where torch would silently give 0."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from fxbin.onlookers import is_transformed

Backward = Callable[..., Any]


def first_derivative_only(backward: Backward) -> Backward:
    """Decorator for a backward without a derivative: computing one raises RuntimeError.

    torch's `once_differentiable` disconnects the gradient from its inputs. Code that takes a missing
    connection for a derivative of 0, as `torch.autograd.functional.hessian` does, would silently get 0.
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
    """Returns a gradient unchanged, still connected to its inputs, by a backward that only raises."""

    @staticmethod
    def forward(_ctx: Any, gradient: Tensor, *_sources: Tensor) -> Tensor:
        return gradient.detach()

    @staticmethod
    def backward(_ctx: Any, *_grads: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice: a straight-through estimator has no second derivative. "
            "Differentiate once, or switch the binarizers off"
        )
