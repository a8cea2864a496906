"""Targets of nodes that call more than one operator.

They are objects rather than functions, because fx writes the target of a node into the code that it
generates by module and name, so that several functions of one name would become one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.original.closures import variables
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.content import ContentError


@dataclass(frozen=True)
class ApplyFunction:
    """``function.apply``: the custom forward and backward of a `torch.autograd.Function`."""

    function: type[torch.autograd.Function]

    @property
    def __name__(self) -> str:
        return f"{self.function.__name__}_apply"

    @speaks_for_user
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the function as user code does."""
        return self.function.apply(*args, **kwargs)


@dataclass(frozen=True)
class CallScripted:
    """A function that was compiled by `torch.jit.script`."""

    function: Callable[..., Any]

    @property
    def __name__(self) -> str:
        return str(getattr(self.function, "name", "scripted"))

    @speaks_for_user
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as user code does."""
        return self.function(*args, **kwargs)


@dataclass(frozen=True)
class CheckAll:
    """``torch._check_tensor_all_with``, which raises unless all elements of a tensor are true."""

    check: Callable[..., None]
    error: type[Exception]
    message: Callable[[], str]

    @property
    def __name__(self) -> str:
        return "check_all"

    @speaks_for_user
    def __call__(self, condition: Tensor) -> None:
        """Check `condition` as user code does."""
        self.check(self.error, condition, self.message)


@dataclass(frozen=True)
class CallMapped:
    """A function without state that `torch.vmap` maps over a dimension."""

    map: Callable[..., Any]
    function: Callable[..., Any]
    options: tuple[Any, ...]

    def __hash__(self) -> int:
        return hash(CallMapped)  # options may hold lists and dicts

    @property
    def __name__(self) -> str:
        return "vmap"

    @speaks_for_user
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the mapped function as user code does."""
        return self.map(self.function, *self.options, *args, **kwargs)

    def on_shapes(self, *args: Any, **kwargs: Any) -> Any:
        """Call it without data; raise ContentError if `function` has parameters, which a graph must see."""
        closed_over = (held for _, held in variables(self.function))
        held = (self.function, getattr(self.function, "__self__", None), *closed_over)
        if any(isinstance(item, nn.Module | Tensor) for item in held):
            raise ContentError("torch.vmap is called with a function that uses modules or tensors of its own")
        return self(*args, **kwargs)
