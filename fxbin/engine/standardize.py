"""Weights standardized filter by filter, and their gradients, by the engine."""

from ctypes import sizeof

import torch
from torch import Tensor

from fxbin.engine.library import Engine
from fxbin.engine.memory import dense, in_layout, is_channels_last
from fxbin.engine.structs import StandardizeCall


def standardize(engine: Engine, w: Tensor, means: Tensor, smallest: float) -> tuple[Tensor, Tensor]:
    """Return ``(w - mean) / sqrt(variance + smallest)``, and for each filter the factor on ``w - mean``.

    Shapes: w ``(f, ...)``, means ``(f, 1, 1, 1)``; all float32, not empty.
    """
    w, means = in_layout(w, is_channels_last(w)), dense(means)
    v, inverses = torch.empty_like(w), torch.empty_like(means)
    call = StandardizeCall(sizeof(StandardizeCall), w.data_ptr(), v.data_ptr(), None, w.numel())
    call.means, call.inverses = means.data_ptr(), inverses.data_ptr()
    call.filters, call.smallest = len(w), smallest
    engine.standardize(call)
    return v, inverses


def standardize_gradient(engine: Engine, g: Tensor, v: Tensor, inverses: Tensor) -> Tensor:
    """Return the gradient of w, given that of v, `g`; `standardize` has returned the others."""
    is_last = is_channels_last(v)
    grad, v, inverses = in_layout(g, is_last).clone(), in_layout(v, is_last), dense(inverses)
    call = StandardizeCall(sizeof(StandardizeCall), None, v.data_ptr(), grad.data_ptr(), v.numel())
    call.inverses, call.filters = inverses.data_ptr(), len(v)
    engine.standardize_gradients(call)
    return grad
