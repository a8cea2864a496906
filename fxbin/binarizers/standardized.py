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


def standardized(w: Tensor, smallest: float) -> Tensor:
    """``(w - mean) / sqrt(variance + smallest)``, with the mean and variance of each filter of `w`."""
    if w.dim() != 4 or w.dtype != torch.float32 or not w.numel() or torch.is_autocast_enabled("cpu"):
        return _formula(w, smallest)
    engine = training_engine() if cpu_passes.applies_to(w) and is_unseen(w.detach()) else None
    if engine is None:
        return _formula(w, smallest)
    v: Tensor = _Standardized.apply(w, smallest, engine)  # type: ignore[no-untyped-call]
    return v


class _Standardized(Function):
    """``v = (w - mean) / sqrt(variance + smallest)``.

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
    centered = w - w.mean(_FILTER, keepdim=True)
    variance = centered.square().mean(_FILTER, keepdim=True)
    return centered * (variance + smallest).rsqrt()
