"""Weights minus the mean of their filter, divided by its standard deviation, in one pass if possible."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from fxbin.binarizers import cpu_passes
from fxbin.engine.library import Engine, training_engine
from fxbin.engine.standardize import standardize, standardize_gradient
from fxbin.onlookers import is_unseen

_FILTER = (1, 2, 3)

LEAST_SPREAD = 0.01
"""The least standard deviation that counts, in units of the magnitude of the mean: the engine has it, too."""

_NOTHING = 1e-24
"""Variances and squares up to this one count as 0."""


def standardized(w: Tensor, smallest: float) -> Tensor:
    """``(w - mean) / sqrt(variance + smallest)``, with the mean and variance of each filter of `w`.

    A filter of almost equal weights has hardly any spread to divide by, and dividing by rounding errors would
    make its gradients thousands of times as large as those of others. So the variance is at least
    ``(LEAST_SPREAD mean) ** 2``, and 1 for a filter of zeros; such a bound is a constant for gradients.
    """
    if w.dim() != 4 or w.dtype != torch.float32 or not w.numel() or torch.is_autocast_enabled("cpu"):
        return _formula(w, smallest)
    engine = training_engine() if cpu_passes.applies_to(w) and is_unseen(w.detach()) else None
    if engine is None:
        return _formula(w, smallest)
    v: Tensor = _Standardized.apply(w, smallest, engine)  # type: ignore[no-untyped-call]
    return v


class _Standardized(Function):
    """``v = (w - mean) / sqrt(variance + smallest)``, with the bounds of `standardized` for the variance.

    Backward: ``(g - mean(g) - v mean(g v)) / sqrt(variance + smallest)``, the means being those of a filter.
              It has a derivative, too.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, smallest: float, engine: Engine) -> Tensor:
        # The mean is that of `Center.threshold`, to the bit: exports compare w with it instead.
        v, inverses = standardize(engine, w, w.mean(_FILTER, keepdim=True), smallest)
        ctx.save_for_backward(w, v, inverses)
        ctx.smallest, ctx.engine = smallest, engine
        return v

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (g,), (w, v, inverses) = grads, ctx.saved_tensors
        if not torch.is_grad_enabled() and g.dtype == v.dtype and is_unseen(g):
            return standardize_gradient(ctx.engine, g, v, inverses), None, None
        is_followed = torch.is_grad_enabled()
        with torch.enable_grad():
            again = _formula(w, ctx.smallest)
        return torch.autograd.grad(again, w, g, create_graph=is_followed)[0], None, None


def _formula(w: Tensor, smallest: float) -> Tensor:
    mean = w.mean(_FILTER, keepdim=True)
    centered = w - mean
    variance = centered.square().mean(_FILTER, keepdim=True)
    return centered * (variance + _lacking(variance.detach(), mean.detach()) + smallest).rsqrt()


def _lacking(variance: Tensor, mean: Tensor) -> Tensor:
    """What each `variance` lacks of its least value, see `standardized`; 0 for ordinary filters."""
    least = (LEAST_SPREAD * mean).square()
    least = torch.where(torch.maximum(variance, least) <= _NOTHING, 1, least)
    return (least - variance).clamp(min=0)
