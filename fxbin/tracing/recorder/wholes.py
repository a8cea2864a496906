"""Pieces of code that become one node, though they are more than one operator.

Their targets are objects: fx writes a target into the code it generates by its module and name, and
several functions of one name would be one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.graph.containers import leaves, map_nested
from fxbin.original.closures import variables
from fxbin.tracing.recorder.attributes import traced
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.bugs import as_asked, speaks_for_user
from fxbin.tracing.values.content import ContentError
from fxbin.tracing.values.tensor import TracedTensor


@dataclass(frozen=True)
class ApplyFunction:
    """``function.apply``: the custom forward and backward of a `torch.autograd.Function`."""

    function: type[torch.autograd.Function]

    @property
    def __name__(self) -> str:
        return f"{self.function.__name__}_apply"

    @speaks_for_user
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As user code calls it."""
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
        """As user code calls it."""
        return self.function(*args, **kwargs)


@dataclass(frozen=True)
class CheckAll:
    """``torch._check_tensor_all_with``: raises unless all of a tensor is true."""

    check: Callable[..., None]
    error: type[Exception]
    message: Callable[[], str]

    @property
    def __name__(self) -> str:
        return "check_all"

    @speaks_for_user
    def __call__(self, condition: Tensor) -> None:
        """As in user code."""
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
        """As user code calls it."""
        return self.map(self.function, *self.options, *args, **kwargs)

    def on_shapes(self, *args: Any, **kwargs: Any) -> Any:
        """The same without data. Raises ContentError if `function` has parameters, which a graph must see."""
        closed_over = (held for _, held in variables(self.function))
        held = (self.function, getattr(self.function, "__self__", None), *closed_over)
        if any(isinstance(item, nn.Module | Tensor) for item in held):
            raise ContentError("torch.vmap is called with a function that uses modules or tensors of its own")
        return self(*args, **kwargs)


def run_on_ones(run: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """A module that cannot be run without data, run on ones for the shape of its result: a copy, by `run`."""
    device = next((x.device for x in module.parameters()), torch.device("cpu"))

    def with_data(item: Any) -> Any:
        return torch.ones_like(item, device=device) if isinstance(item, Tensor) and item.is_meta else item

    result = as_asked(run, *map_nested(args, with_data), **map_nested(kwargs, with_data))
    if not any(isinstance(arg, Tensor) and arg.is_meta for arg in leaves((args, kwargs))):
        return result
    return map_nested(result, lambda item: item.to("meta") if isinstance(item, Tensor) else item)


class ForwardContext:
    """The `ctx` of an autograd function while it is traced: it takes what it is given."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.needs_input_grad = tuple(isinstance(arg, Tensor) for arg in args)
        self.saved_tensors: tuple[Any, ...] = ()
        self.dirty: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep nothing but what a forward may read back."""
        self.saved_tensors = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *tensors: Any) -> None:
        """These were changed in place, and are themselves what is returned."""
        self.dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Nothing to do: nothing is differentiated."""

    def set_materialize_grads(self, value: bool) -> None:
        """Nothing to do: nothing is differentiated."""


@speaks_for_user
def run_forward(function: type[torch.autograd.Function], args: tuple[Any, ...]) -> Any:
    """The forward of `function` alone, in the way that it is written in."""
    context: Any = ForwardContext(args)
    if has_setup(function):
        result = function.forward(*args)
        function.setup_context(context, args, result)
    else:
        result = function.forward(context, *args)
    kept = [arg for arg in args if not any(arg is dirty for dirty in context.dirty)]
    return in_place_of(kept, result)


def has_setup(function: type[torch.autograd.Function]) -> bool:
    """Whether `function` is written in the way that `torch.func` needs: its forward sees no context."""
    return function.setup_context is not torch.autograd.Function.setup_context


def in_place_of(tensors: Iterable[Any], result: Any) -> Any:
    """`result` of a function, with others of the same content in place of those of `tensors` in it.

    As torch does with what is given to a function and comes back: it has the custom backward behind it,
    and the one that was given has not.
    """

    def new(item: Any) -> Any:
        if type(item) is not TracedTensor or not any(item is tensor for tensor in tensors):
            return item
        with paused():
            made = traced(item._value, item._node, tracked=False)
        made._requires_grad = item._requires_grad
        return made

    return tuple(map(new, result)) if isinstance(result, tuple) else new(result)
