"""One call of a module, as a run with data has seen it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxbin.graph.scope import Scope
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.tensor import TracedTensor


@dataclass
class Stay:
    """What a module was called with, from where, and which operators ran until it returned."""

    path: str
    """Qualified name of the module: ``"backbone.body"``; empty for the root."""

    caller: str | None
    """Qualified name of the module whose code made the call; None for the root."""

    running: Scope
    """Scope of the caller."""

    scope: Scope

    args: tuple[Any, ...]
    """Tensors have shapes, but no data."""

    kwargs: dict[str, Any]

    begin: int
    """Position of its first operator among those of the run."""

    end: int = 0
    """Position behind its last one."""


def without_data(item: Any) -> Any:
    """A plain value for what user code has; for a tensor one of its shape."""
    if type(item) is TracedValue:
        return item._value
    if isinstance(item, Tensor):
        value = item._value if type(item) is TracedTensor else item
        return torch.empty_like(value, device="meta")
    return item
