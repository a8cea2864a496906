"""Finds the modules that run as separate graphs around code that no graph can hold."""

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
from fxbin.original.inventory import Inventory
from fxbin.original.reach import reachable
from fxbin.tracing.module_call import ModuleCall
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.trace import Entry, Trace, trace
from fxbin.tracing.undone.state import in_mode
from fxbin.tracing.values.bugs import raise_bug


@dataclass(frozen=True)
class Part:
    """The traces of a module that runs as a graph, in eval and train mode."""

    eval_trace: Trace
    """The trace of eval mode."""

    train_trace: Trace | None
    """The trace of train mode; None if it cannot be traced, so that the module runs its own code there."""

    @property
    def traces(self) -> tuple[Trace, ...]:
        """The trace of eval mode and, if there is one, that of train mode."""
        return (self.eval_trace,) if self.train_trace is None else (self.eval_trace, self.train_trace)


def trace_both(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaf_modules: tuple[type[nn.Module], ...],
    eval_trace: Trace,
    inventory: Inventory,
) -> Part:
    """Trace the train mode of `root`, until both modes have the same islands.

    Traces eval mode again if train mode has more islands than `eval_trace`. Raises TraceError.
    """

    def traced(islands: dict[str, str], *, training: bool) -> Trace:
        return trace(
            *(root, args, kwargs),
            training=training,
            leaf_modules=leaf_modules,
            islands=islands,
            inventory=inventory,
        )

    while True:
        train_trace = traced(eval_trace.islands, training=True)
        if train_trace.islands == eval_trace.islands:
            return Part(eval_trace, train_trace)
        eval_trace = traced(train_trace.islands, training=False)


class PartFinder:
    """Finds the largest modules inside islands that graphs can hold, from the tracer of a run with data.

    Code that is not traced calls a part any number of times, with inputs of any size, so its graph must not
    rely on any Python value. If it does, the module becomes an island, and the modules that it calls are
    tried next. In the end each convolution module is a part by itself.
    """

    def __init__(self, root: nn.Module, leaf_modules: tuple[type[nn.Module], ...], run: Tracer) -> None:
        self._root, self._leaf_modules = root, leaf_modules
        self.parts: dict[str, Part] = {}
        """The parts found so far, by qualified name."""
        self.islands: dict[str, str] = {}
        """The reason why each island is one, by qualified name."""
        self._inventory = run.attributes.inventory
        self._modules = {path: module for module, path in self._inventory.module_paths.items()}
        self._ops, self._module_calls = run.position.ops, run.modules.calls
        self._assigned = run.state.assigned
        self._convs = [position for position, op in enumerate(self._ops) if op.op == "conv2d"]
        self._calls_of: dict[str, list[ModuleCall]] = defaultdict(list)
        self._callees: dict[str, dict[str, None]] = defaultdict(dict)
        for call in self._module_calls:
            self._calls_of[call.path].append(call)
            if call.caller is not None and self._convs_in(call):
                self._callees[call.caller][call.path] = None

    def explore(self, islands: dict[str, str]) -> None:
        """Find the parts inside `islands`, given with reasons by qualified name, and the islands in these."""
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
                    pending |= {p: why for p, why in part.eval_trace.islands.items() if p not in self.islands}
                else:
                    pending[path] = part
            pending = pending or self._overlapping()

    def sites(self) -> Iterator[tuple[OpCall, OpCall | str]]:
        """Yield each conv2d of the run with the operator in the graph of its part, or its island's path."""
        innermost: dict[int, ModuleCall] = {}
        for call in self._module_calls:
            if call.path in self.parts or call.path in self.islands:
                innermost |= dict.fromkeys(self._convs_in(call), call)
        held = {
            path: {op.address for node in part.eval_trace.graph.nodes for op in ops_of(node)}
            for path, part in self.parts.items()
        }
        for position, call in innermost.items():
            site = self._in_part(position, call) if call.path in self.parts else None
            is_known = site is not None and site.address in held[call.path]
            yield self._ops[position], site if site is not None and is_known else call.path

    def _traced(self, paths: Collection[str]) -> dict[str, Part | str]:
        """The module at each of `paths` as a part, or the reason why it cannot be one."""
        refused = {path: why for path in paths if (why := self._why_not(path))}
        islands: dict[str, dict[str, str]] = {path: {} for path in paths if path not in refused}
        parts: dict[str, Part] = {}
        while islands:
            eval_traces = self._in_mode(islands, refused, training=False)
            islands = {path: found.islands for path, found in eval_traces.items()}
            train_traces = self._in_mode(islands, refused, training=True)
            for path, found in train_traces.items():
                if found.islands == eval_traces[path].islands:
                    parts[path] = Part(eval_traces[path], found)
            islands = {path: found.islands for path, found in train_traces.items() if path not in parts}
        refused |= {
            path: why
            for path, part in parts.items()
            if (why := _why_not_for_all_calls(part) or why_assigns(part))
        }
        return {path: refused.get(path) or parts[path] for path in paths}

    def _in_mode(
        self, islands: dict[str, dict[str, str]], refused: dict[str, str], *, training: bool
    ) -> dict[str, Trace]:
        """Trace the modules at the keys of `islands` in one mode; add those that fail to `refused`.

        The mode is switched once for all of them, because that takes longer the larger the model is.
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
        call = self.example(path)
        return trace(
            *(self._root, call.args, call.kwargs),
            training=training,
            leaf_modules=self._leaf_modules,
            islands=islands,
            entry=Entry(self._modules[path], call.running),
            inventory=self._inventory,
        )

    def _why_not(self, path: str) -> str:
        """Why the module at `path` cannot be a part, without tracing it; empty if it may be one."""
        if path not in self._modules:
            return "the model does not hold it: code creates a new one in each run"
        module = self._modules[path]
        if type(module).__call__ is not nn.Module.__call__:
            return f"{type(module).__name__} overrides __call__, which runs around its forward"
        ranks = {tuple(x.dim() for x in _tensors(call)) for call in self._calls_of[path]}
        if len(ranks) > 1 and next(module.children(), None) is not None:
            return "it is called with tensors of different dimensions"
        return self.why_shared(module)

    def why_shared(self, module: nn.Module) -> str:
        """Why a graph of `module` may hold outdated attributes; empty if the run changes none in reach."""
        for held in reachable(module):
            if held in self._assigned:
                name = f"{self._inventory.module_paths[held]}.{self._assigned[held]}".lstrip(".")
                return f"it may look at the attribute {name}, which is assigned in a run"
        return ""

    def example(self, path: str) -> ModuleCall:
        """The call with which a part is traced: the first one without empty tensors, or else the first."""
        calls = self._calls_of[path]
        return next((call for call in calls if all(x.numel() for x in _tensors(call))), calls[0])

    def _overlapping(self) -> dict[str, str]:
        """Parts whose graph contains a module that is also called from outside of them, with this reason."""
        found_paths = {*self.parts, *self.islands}
        called = {module: path for path, module in self._modules.items() if path in found_paths}
        found = {}
        for path, part in self.parts.items():
            depth = len(self._calls_of[path][0].scope)
            inside = (element.module for op in _followed(part) for element in op.scope[depth:])
            shared = next((module for module in inside if module in called), None)
            if shared is not None:
                found[path] = f"{called[shared]} is also called from outside of it"
        return found

    def scope(self, path: str) -> Scope:
        """Scope of the first call of the module at `path`."""
        return self._calls_of[path][0].scope

    def _in_part(self, position: int, call: ModuleCall) -> OpCall:
        """The operator at `position` of the run as it is in the graph of the part, which counts from 0."""
        op = self._ops[position]
        same = (self._ops[p] for p in self._convs_in(call))
        first = next(o.index for o in same if o.scope_path == op.scope_path and o.tracked == op.tracked)
        scope = self.example(call.path).scope + op.scope[len(call.scope) :]
        return replace(op, scope=scope, index=op.index - first)

    def _convs_in(self, call: ModuleCall) -> list[int]:
        return self._convs[bisect_left(self._convs, call.begin) : bisect_left(self._convs, call.end)]


def _followed(part: Part) -> Iterator[OpCall]:
    """Yield the operators of a part except those of islands in it; none if it is for eval mode only."""
    for found in part.traces if part.train_trace else ():
        for node in found.graph.nodes:
            if node.target not in found.islands:
                yield from ops_of(node)


def _tensors(call: ModuleCall) -> Iterable[Tensor]:
    return (x for x in leaves((call.args, call.kwargs)) if isinstance(x, Tensor))


def why_assigns(part: Part) -> str:
    """The attribute that `part` assigns, as a reason why graphs, which do not, are not enough; or empty."""
    for name in (name for found in part.traces for name in found.assigned):
        return f"it assigns to the attribute {name}, which other code may look at"
    return ""


def _why_not_for_all_calls(part: Part) -> str:
    """Why the graphs of `part` may be wrong for other calls; empty if they are valid for all."""
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
