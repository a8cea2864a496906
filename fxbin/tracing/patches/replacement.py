"""Something else in place of what torch has under a name, and how to see that torch still comes to it."""

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
    """What is at hand to see whether a replacement is reached."""

    tracer: "Recording"
    """The active one, whose graph nobody will run."""

    x: TracedTensor
    """Of shape (1, 1)."""

    scripted: Callable[..., Any]
    """A function that was compiled by `torch.jit`."""

    @property
    def last(self) -> fx.Node:
        """What was recorded last."""
        node: fx.Node = next(iter(reversed(self.tracer.graph.nodes)))
        return node


@dataclass(frozen=True)
class Replacement:
    """What stands in for ``owner.name`` while a model is traced."""

    owner: Any
    name: str
    wrap: Callable[[Any], Any]
    """Makes it, given what is there; None if nothing is."""

    is_reached: Callable[[Sample], object]
    """Makes a small call, as models do. Gives something true if that comes to the replacement.

    If it does not, it may as well raise what torch says to a tensor that it was not to see.
    """

    def __str__(self) -> str:
        home = "" if isinstance(self.owner, ModuleType) else f"{self.owner.__module__}."
        return f"{home}{self.owner.__name__}.{self.name}"


def node_of(item: Any) -> fx.Node:
    """The node behind what a call gave. Raises AttributeError if a tracer has not seen it."""
    node: fx.Node = item._node
    return node


@contextmanager
def replaced(replacements: Iterable[Replacement]) -> Iterator[None]:
    """Inside, all of them are in place: in modules for threads that trace, in classes for all of them."""
    with ExitStack() as stack:
        for each in replacements:
            there = getattr(each.owner, each.name, None)
            stack.enter_context(_replaced(each.owner, each.name, there, each.wrap(there)))
        yield


def _replaced(owner: Any, name: str, there: Any, stand_in: Any) -> AbstractContextManager[Any]:
    if stand_in is there:
        return nullcontext()  # it is already, in a trace that a traced model makes
    if there is None or not isinstance(owner, ModuleType):
        return mock.patch.object(owner, name, stand_in, create=there is None)
    if original_of(stand_in) is not there:
        stand_in = standing_for(there)(stand_in)
    return by_thread(owner, {name: stand_in})
