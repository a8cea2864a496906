"""One call of a module, recorded in a run with data."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxbin.graph.scope import Scope
from fxbin.tracing.values.numbers import TracedValue
from fxbin.tracing.values.tensor import TracedTensor


@dataclass
class ModuleCall:
    """The arguments of one call of a module, its caller, and the operators that ran until it returned."""

    path: str
    """Qualified name of the called module: ``"backbone.body"``; empty for the root."""

    caller: str | None
    """Qualified name of the module whose code made the call; None for the root."""

    running: Scope
    """Scope of the caller."""

    scope: Scope
    """Scope of the called module."""

    args: tuple[Any, ...]
    """Positional arguments, with meta tensors in place of tensors."""

    kwargs: dict[str, Any]
    """Keyword arguments, likewise."""

    begin: int
    """Index of its first operator among all operators of the run."""

    end: int = 0
    """Index after its last operator."""


def without_data(item: Any) -> Any:
    """The plain value of a traced number, a meta tensor in place of a tensor; anything else unchanged."""
    if type(item) is TracedValue:
        return item._value
    if isinstance(item, Tensor):
        value = item._value if type(item) is TracedTensor else item
        return torch.empty_like(value, device="meta")
    return item
