"""Run-time checks of the Python values on which a graph relies."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from fxbin.errors import TraceError
from fxbin.onlookers import TracerWarning, known, recordable


@fx.node.has_side_effect
@recordable
def check_specialised(value: Any, expected: Any, what: str) -> None:
    """Raise TraceError unless `value` is what it was during the trace; `what` names it in the message."""
    value = _plain(value, expected, what)
    if isinstance(value, Tensor):
        value = f"a tensor of shape {tuple(value.shape)}"
    elif value == expected:
        return
    ways_out = "transform the model again with example inputs like these"
    if any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
        ways_out += ". If autocast causes this, keep the module whole with `leaf_modules`"
    before = "its default" if expected is ... else repr(expected)
    raise TraceError(
        f"the model was transformed for inputs with {what} = {before}, and now it is {value!r}: {ways_out}"
    )


@fx.node.has_side_effect
@recordable
def check_weights(value: Any, expected: Any, what: str) -> None:
    """Raise TraceError unless `value`, computed from shapes of parameters, is what it was in the trace."""
    value = known(value)
    if value != expected:
        raise TraceError(
            f"the model was transformed for weights with {what} = {expected!r}, and now it is {value!r}: "
            "transform the model with the new weights"
        )


@fx.node.has_side_effect
@recordable
def check_count(parts: Any, expected: int, what: str) -> None:
    """Raise TraceError unless a tensor was split into as many parts as during the trace."""
    check_specialised(len(parts), expected, what)


@fx.node.has_side_effect
@recordable
def check_learns(tensor: Tensor, expected: bool, what: str) -> None:
    """Raise TraceError unless `tensor` requires a gradient, or requires none, as the trace has found."""
    if tensor.requires_grad != expected:
        raise TraceError(
            f"the model was transformed with {what} = {expected}, and now it is {not expected}: keep the "
            "module whole with `leaf_modules`, as its code depends on that"
        )


@fx.node.has_side_effect
@recordable
def register_hook(tensor: Tensor, hook: Callable[[Tensor], Any]) -> None:
    """Call ``tensor.register_hook(hook)`` if the tensor requires a gradient."""
    if tensor.requires_grad:
        tensor.register_hook(hook)


@fx.node.has_side_effect
@recordable
def check_given(value: Any, name: str) -> None:
    """Raise TraceError if an optional tensor is None that was given during the trace."""
    if value is None:
        raise TraceError(
            f"the model was transformed for inputs with a tensor as the argument {name!r}, and now it is "
            "None: transform the model again with example inputs like these"
        )


@fx.node.has_side_effect
@recordable
def check_nothing_more(rest: Any, name: str) -> None:
    """Raise TraceError if ``*args`` or ``**kwargs`` contain more than during the trace."""
    if len(rest):
        raise TraceError(
            f"the model was transformed for inputs with nothing in {name!r}, and now there is "
            f"{', '.join(rest) if isinstance(rest, dict) else len(rest)}: transform the model again with "
            "example inputs like these"
        )


@fx.node.has_side_effect
@recordable
def check_passed(value: Any, name: str) -> None:
    """Raise TypeError, as Python does, if an argument is missing that has a default only in the graph."""
    if value is ...:
        raise TypeError(f"forward() missing 1 required argument: {name!r}")


@fx.node.has_side_effect
@recordable
def assign_buffer(buffer: Tensor, value: Tensor) -> Tensor:
    """Do what ``self.buffer = value`` does in a forward: keep the value for the next one.

    Returns the tensor to use as the value afterwards: the buffer, unless gradients flow through the value.
    """
    with torch.no_grad():
        if buffer.shape == value.shape and buffer.dtype == value.dtype:
            buffer.copy_(value)
        else:
            buffer.data = value.detach().clone()
    return value if value.requires_grad else buffer


def _plain(value: Any, expected: Any, what: str) -> Any:
    """The plain number of `value`; warns if `torch.jit.trace` records a program without the check."""
    number = known(value)
    if number is not value and number == expected:
        warnings.warn(
            f"the traced module is valid only for inputs with {what} = {expected!r}, and does not check that",
            TracerWarning,
            stacklevel=3,
        )
    return number
