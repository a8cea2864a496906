"""The modules that run as graphs of their own around code that no graph can hold."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from fxbin.graph.calls.guards import check_given, check_specialised
from fxbin.graph.calls.structure import check_structure
from fxbin.graph.containers import leaves
from fxbin.graph.record import OpCall, ops_of
from fxbin.graph.scope import Scope
from fxbin.original.holdings import Holdings
from fxbin.original.reach import reachable
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.stay import Stay
from fxbin.tracing.trace import Entry, Trace, trace
from fxbin.tracing.undone.state import in_mode
from fxbin.tracing.values.bugs import raise_bug


@dataclass(frozen=True)
class Part:
    """A module that runs as a graph of its own."""

    evaluated: Trace

    trained: Trace | None
    """None where train mode cannot be traced: there the module runs as it is, around smaller parts."""

    @property
    def traces(self) -> tuple[Trace, ...]:
        """Those that there are."""
        return (self.evaluated,) if self.trained is None else (self.evaluated, self.trained)


def trace_both(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaf_modules: tuple[type[nn.Module], ...],
    evaluated: Trace,
    holdings: Holdings,
) -> Part:
    """`evaluated`, and train mode, with the same islands in both. Raises TraceError."""

    def traced(islands: dict[str, str], *, training: bool) -> Trace:
        return trace(
            *(root, args, kwargs),
            training=training,
            leaf_modules=leaf_modules,
            islands=islands,
            holdings=holdings,
        )

    while True:
        trained = traced(evaluated.islands, training=True)
        if trained.islands == evaluated.islands:
            return Part(evaluated, trained)
        evaluated = traced(trained.islands, training=False)


class PartFinder:
    """Finds the largest modules around islands that graphs can hold, by what was seen of a run with data.

    A part is called by code that is not traced, with inputs of any size, any number of times. So its graph
    must not be special to anything; where it is, the module becomes an island, and what it calls is tried.
    In the end each convolution module is such a part by itself.
    """

    def __init__(self, root: nn.Module, leaf_modules: tuple[type[nn.Module], ...], seen: Tracer) -> None:
        self._root, self._leaf_modules = root, leaf_modules
        self.parts: dict[str, Part] = {}
        self.islands: dict[str, str] = {}
        self._holdings = seen.attributes.holdings
        self._modules = {path: module for module, path in self._holdings.module_paths.items()}
        self._ops, self._stays, self._assigned = seen.position.ops, seen.modules.stays, seen.state.assigned
        self._convs = [position for position, op in enumerate(self._ops) if op.op == "conv2d"]
        self._calls: dict[str, list[Stay]] = defaultdict(list)
        self._callees: dict[str, dict[str, None]] = defaultdict(dict)
        for stay in self._stays:
            self._calls[stay.path].append(stay)
            if stay.caller is not None and self._convs_in(stay):
                self._callees[stay.caller][stay.path] = None

    def explore(self, islands: dict[str, str]) -> None:
        """Find the parts around `islands`, by name, and the islands in these."""
        pending = dict(islands)
        while pending:
            self.islands |= pending
            for path in pending:
                self.parts.pop(path, None)
            callees = dict.fromkeys(callee for path in pending for callee in self._callees[path])
            pending = {}
            known = {*self.parts, *self.islands}
            for path, part in self._traced([path for path in callees if path not in known]).items():
                if isinstance(part, Part):
                    self.parts[path] = part
                    pending |= {p: why for p, why in part.evaluated.islands.items() if p not in self.islands}
                else:
                    pending[path] = part
            pending = pending or self._overlapping()

    def sites(self) -> Iterator[tuple[OpCall, OpCall | str]]:
        """For each conv2d seen: what it is in the graph of its part, or the path of the calling island."""
        innermost: dict[int, Stay] = {}
        for stay in self._stays:
            if stay.path in self.parts or stay.path in self.islands:
                innermost |= dict.fromkeys(self._convs_in(stay), stay)
        held = {
            path: {op.address for node in part.evaluated.graph.nodes for op in ops_of(node)}
            for path, part in self.parts.items()
        }
        for position, stay in innermost.items():
            home = self._in_part(position, stay) if stay.path in self.parts else None
            is_known = home is not None and home.address in held[stay.path]
            yield self._ops[position], home if home is not None and is_known else stay.path

    def _traced(self, paths: Collection[str]) -> dict[str, Part | str]:
        """For each of `paths` the module there as a part, or why it cannot be one."""
        refused = {path: why for path in paths if (why := self._why_not(path))}
        islands: dict[str, dict[str, str]] = {path: {} for path in paths if path not in refused}
        parts: dict[str, Part] = {}
        while islands:
            evaluated = self._in_mode(islands, refused, training=False)
            islands = {path: found.islands for path, found in evaluated.items()}
            trained = self._in_mode(islands, refused, training=True)
            for path, found in trained.items():
                if found.islands == evaluated[path].islands:
                    parts[path] = Part(evaluated[path], found)
            islands = {path: found.islands for path, found in trained.items() if path not in parts}
        refused |= {
            path: why for path, part in parts.items() if (why := _why_special(part) or why_assigns(part))
        }
        return {path: refused.get(path) or parts[path] for path in paths}

    def _in_mode(
        self, islands: dict[str, dict[str, str]], refused: dict[str, str], *, training: bool
    ) -> dict[str, Trace]:
        """Traces of the modules at the keys of `islands`; those that fail are `refused`.

        The model is switched once for all of them: that takes as long as it is large.
        """
        traces = {}
        with in_mode(self._root, training=training):
            for path, known in islands.items():
                try:
                    traces[path] = self._trace(path, known, training=training)
                except Exception as error:  # noqa: BLE001  (whatever it is, the module can still run as it is)
                    raise_bug(error)
                    refused[path] = getattr(error, "reason", "") or f"{type(error).__name__}: {error}"
        return traces

    def _trace(self, path: str, islands: dict[str, str], *, training: bool) -> Trace:
        stay = self.example(path)
        return trace(
            *(self._root, stay.args, stay.kwargs),
            training=training,
            leaf_modules=self._leaf_modules,
            islands=islands,
            entry=Entry(self._modules[path], stay.running),
            holdings=self._holdings,
        )

    def _why_not(self, path: str) -> str:
        """Why the module at `path` cannot be a part, as far as that is known without a trace of it."""
        if path not in self._modules:
            return "the model does not hold it: code makes it anew in each run"
        module = self._modules[path]
        if type(module).__call__ is not nn.Module.__call__:
            return f"{type(module).__name__} overrides __call__, which goes on running around its forward"
        ranks = {tuple(x.dim() for x in _tensors(call)) for call in self._calls[path]}
        if len(ranks) > 1 and next(module.children(), None) is not None:
            return "it is called with tensors of different dimensions"
        return self.why_shared(module)

    def why_shared(self, module: nn.Module) -> str:
        """Why a graph may read old values where `module` reads attributes; empty if none changes in a run."""
        for held in reachable(module):
            if held in self._assigned:
                name = f"{self._holdings.module_paths[held]}.{self._assigned[held]}".lstrip(".")
                return f"it may look at the attribute {name}, which is assigned in a run"
        return ""

    def example(self, path: str) -> Stay:
        """The call that a part is traced with: rather one that is not empty."""
        calls = self._calls[path]
        return next((call for call in calls if all(x.numel() for x in _tensors(call))), calls[0])

    def _overlapping(self) -> dict[str, str]:
        """Parts that go through a module that is also called from outside of them."""
        found_paths = {*self.parts, *self.islands}
        called = {module: path for path, module in self._modules.items() if path in found_paths}
        found = {}
        for path, part in self.parts.items():
            depth = len(self._calls[path][0].scope)
            inside = (element.module for op in _followed(part) for element in op.scope[depth:])
            shared = next((module for module in inside if module in called), None)
            if shared is not None:
                found[path] = f"{called[shared]} is also called from outside of it"
        return found

    def scope(self, path: str) -> Scope:
        """Where the module at `path` was first called."""
        return self._calls[path][0].scope

    def _in_part(self, position: int, stay: Stay) -> OpCall:
        """An operator as it is in the graph of the part, for which each call counts from 0."""
        op = self._ops[position]
        same = (self._ops[p] for p in self._convs_in(stay))
        first = next(o.index for o in same if o.scope_path == op.scope_path and o.tracked == op.tracked)
        scope = self.example(stay.path).scope + op.scope[len(stay.scope) :]
        return replace(op, scope=scope, index=op.index - first)

    def _convs_in(self, stay: Stay) -> list[int]:
        return self._convs[bisect_left(self._convs, stay.begin) : bisect_left(self._convs, stay.end)]


def _followed(part: Part) -> Iterator[OpCall]:
    """The operators in a part, without those of islands in it; none if that part is for eval mode only."""
    for found in part.traces if part.trained else ():
        for node in found.graph.nodes:
            if node.target not in found.islands:
                yield from ops_of(node)


def _tensors(call: Stay) -> Iterable[Tensor]:
    return (x for x in leaves((call.args, call.kwargs)) if isinstance(x, Tensor))


def why_assigns(part: Part) -> str:
    """Why its graphs are not enough for code around them; empty if they need not change attributes."""
    for name in (name for found in part.traces for name in found.assigned):
        return f"it assigns to the attribute {name}, which other code may look at"
    return ""


def _why_special(part: Part) -> str:
    """Why its graphs may be wrong for other calls of the same module; empty if they are good for all."""
    for special in (special for found in part.traces for special in found.specialisations):
        return f"it depends on {special.expression} (at {special.location})"
    for node in (node for found in part.traces for node in found.graph.nodes):
        if node.target is check_specialised and node.args[1] is not ...:
            return f"it depends on {node.args[2]}"
        if node.target is check_given:
            return f"it depends on whether the argument {node.args[1]!r} is given"
        if node.target is check_structure:
            return f"it depends on the containers that {node.args[2]} gives"
    return ""
