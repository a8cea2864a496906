"""The scales and the two levels of a weight, computed by the engine."""

import torch
from torch import Tensor

from fxbin.engine.library import Engine
from fxbin.engine.memory import dense, in_layout, is_channels_last


def mean_magnitudes(engine: Engine, w: Tensor, *, by_filter: bool) -> Tensor:
    """Return the mean of ``|w|``, ``(1, 1, 1, 1)``, or that of each filter, ``(f, 1, 1, 1)``.

    `w` is float32 ``(f, ...)``.
    """
    w = in_layout(w, is_channels_last(w))
    means = torch.empty(w.shape[0] if by_filter else 1, 1, 1, 1)
    engine.mean_magnitudes(w.data_ptr(), w.numel(), means.data_ptr(), means.numel())
    return means


def weight_levels(engine: Engine, w: Tensor, scale: Tensor, center: Tensor | None = None) -> Tensor:
    """Return ``center + scale`` where w > 0, else ``center - scale``; all float32.

    `scale` and `center` are one number or ``(f, 1, 1, 1)``; a `center` of None is 0.
    """
    w, scale = in_layout(w, is_channels_last(w)), dense(scale)
    y = torch.empty_like(w)
    engine.weight_levels(w.data_ptr(), w.numel(), scale.data_ptr(), scale.numel(), y.data_ptr())
    return y if center is None else y.add_(center)
