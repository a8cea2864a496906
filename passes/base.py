"""The base class of passes, and how passes are run and watched."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from torch import fx, nn

if TYPE_CHECKING:
    from torch.fx import GraphModule

log = logging.getLogger(__name__)


class Pass(ABC):
    """One named rewrite of a graph. Its options are dataclass fields; running it twice equals once."""

    name: ClassVar[str]

    @abstractmethod
    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        """Rewrite `graph` in place; return whether anything changed.

        `owner` has the submodules, parameters and buffers that nodes refer to; new ones are added to it.
        """


@dataclass(frozen=True)
class PassRun:
    """One run of one pass on one graph."""

    name: str
    """Name of the pass."""

    graph: fx.Graph
    """The graph after the pass; the next pass changes it."""

    changed: bool
    """Whether the pass has changed the graph."""

    seconds: float
    """Duration, including the check of the graph."""


Watcher = Callable[[PassRun], None]

_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())


@contextmanager
def watch_passes(watcher: Watcher) -> Iterator[None]:
    """Context manager that calls ``watcher(run)``, with a `PassRun`, after each pass in this thread.

    `run.graph` is the graph before the next pass changes it.

        with fxbin.watch_passes(lambda run: print(run.name, run.changed, run.seconds)):
            fxbin.transform(model, config)
    """
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


def run_passes(graph: fx.Graph, owner: nn.Module, passes: Sequence[Pass], after: Sequence[Pass] = ()) -> bool:
    """Run `passes` in order, check the graph after each, and return whether any has changed it.

    An error in a pass keeps its type and gets a note that names the pass. `after` are those that ran before.
    """
    graph.owning_module = cast("GraphModule", owner)  # `lint` looks up attributes there
    changed = False
    for position, pass_ in enumerate(passes):
        try:
            changed |= _run(pass_, graph, owner)
        except Exception as error:
            error.add_note(f"in pass {pass_.name!r}, after {[p.name for p in (*after, *passes[:position])]}")
            raise
    return changed


def _run(pass_: Pass, graph: fx.Graph, owner: nn.Module) -> bool:
    begin = time.perf_counter()
    changed = pass_.apply(graph, owner)
    graph.lint()  # raises if it is not well formed, or refers to an attribute that `owner` does not have
    run = PassRun(pass_.name, graph, changed, time.perf_counter() - begin)
    log.debug("%s: %s in %.1f ms", run.name, "changed" if changed else "unchanged", 1000 * run.seconds)
    for watcher in _watchers.get():
        watcher(run)
    return changed
