"""What a pass is, and how passes are run and watched."""

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
    """One named rewrite of a graph. Options are dataclass fields; twice equals once."""

    name: ClassVar[str]

    @abstractmethod
    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        """Rewrite `graph` in place; return whether anything changed.

        `owner` has the submodules, parameters and buffers that nodes name, and gets those that are new.
        """


@dataclass(frozen=True)
class PassRun:
    """What one pass did to one graph."""

    name: str
    graph: fx.Graph
    """As the pass left it; the next pass changes it."""

    changed: bool
    seconds: float


Watcher = Callable[[PassRun], None]

_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())


@contextmanager
def watch_passes(watcher: Watcher) -> Iterator[None]:
    """Call `watcher` after each pass that this thread runs, before the next one."""
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


def run_passes(graph: fx.Graph, owner: nn.Module, passes: Sequence[Pass]) -> bool:
    """Run `passes` in the order given, checking the graph after each; return whether any changed it.

    What a pass raises keeps its type and gains a note that names the pass.
    """
    graph.owning_module = cast("GraphModule", owner)  # whose attributes `lint` looks for
    changed = False
    for position, pass_ in enumerate(passes):
        try:
            changed |= _run(pass_, graph, owner)
        except Exception as error:
            error.add_note(f"in pass {pass_.name!r}, after {[p.name for p in passes[:position]]}")
            raise
    return changed


def _run(pass_: Pass, graph: fx.Graph, owner: nn.Module) -> bool:
    begin = time.perf_counter()
    changed = pass_.apply(graph, owner)
    graph.lint()  # raises if it is not well formed, or refers to what its owner does not have
    run = PassRun(pass_.name, graph, changed, time.perf_counter() - begin)
    log.debug("%s: %s in %.1f ms", run.name, "changed" if changed else "unchanged", 1000 * run.seconds)
    for watcher in _watchers.get():
        watcher(run)
    return changed
