"""Replaces a function of torch or Python during a trace, with a check that torch calls the replacement."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

from torch import fx

from fxbin.tracing.patches.by_thread import by_thread
from fxbin.tracing.values.stand_ins import original_of, standing_for
from fxbin.tracing.values.tensor import TracedTensor

if TYPE_CHECKING:
    from fxbin.tracing.values.recording import Recording


@dataclass(frozen=True)
class Sample:
    """Objects with which a check makes a small call of a replacement."""

    tracer: "Recording"
    """The active tracer, whose graph never runs."""

    x: TracedTensor
    """A traced tensor of shape (1, 1)."""

    scripted: Callable[..., Any]
    """A function that was compiled by `torch.jit`."""

    @property
    def last(self) -> fx.Node:
        """The last node of the graph."""
        node: fx.Node = next(iter(reversed(self.tracer.graph.nodes)))
        return node


@dataclass(frozen=True)
class Replacement:
    """A replacement of ``owner.name`` during a trace."""

    owner: Any
    """The Python module or class that has the attribute."""

    name: str
    """Name of the attribute."""

    wrap: Callable[[Any], Any]
    """Makes the replacement of the original value, which is None if there is no such attribute."""

    is_reached: Callable[[Sample], object]
    """Makes a small call, as models do, and gives a true value if that calls the replacement.

    If not, it may also raise an error of torch about the traced tensor.
    """

    def __str__(self) -> str:
        home = "" if isinstance(self.owner, ModuleType) else f"{self.owner.__module__}."
        return f"{home}{self.owner.__name__}.{self.name}"


def node_of(item: Any) -> fx.Node:
    """The node of the result `item` of a call. Raises AttributeError if the call was not recorded."""
    node: fx.Node = item._node
    return node


@contextmanager
def replaced(replacements: Iterable[Replacement]) -> Iterator[None]:
    """Install `replacements`: those in modules for threads that trace, those in classes for all threads."""
    with ExitStack() as stack:
        for each in replacements:
            there = getattr(each.owner, each.name, None)
            stack.enter_context(_replaced(each.owner, each.name, there, each.wrap(there)))
        yield


def _replaced(owner: Any, name: str, there: Any, stand_in: Any) -> AbstractContextManager[Any]:
    if stand_in is there:
        return nullcontext()  # installed already, if a traced model traces another one
    if there is None or not isinstance(owner, ModuleType):
        return mock.patch.object(owner, name, stand_in, create=there is None)
    if original_of(stand_in) is not there:
        stand_in = standing_for(there)(stand_in)
    return by_thread(owner, {name: stand_in})
