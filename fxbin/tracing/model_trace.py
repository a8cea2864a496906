"""Traces a model in both modes, as one graph or, around code that no graph can hold, as several."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin.errors import TraceError
from fxbin.graph.containers import map_nested
from fxbin.graph.record import OpCall, Specialisation
from fxbin.graph.scope import Scope
from fxbin.original.inventory import Inventory
from fxbin.tracing.module_call import without_data
from fxbin.tracing.parts import Part, PartFinder, trace_both, why_assigns
from fxbin.tracing.patches.patching import replacements_kept
from fxbin.tracing.patches.reached import check_replacements
from fxbin.tracing.trace import Trace, run_with_data, trace
from fxbin.tracing.values.content import ContentError


@dataclass(frozen=True)
class FoundIsland:
    """A module that runs its own code, because no graph can hold it, with the reason."""

    scope: Scope
    reason: str


@dataclass(frozen=True)
class Example:
    """Arguments of one call of the model or of a part, as meta tensors, and the scope of the caller."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    running: Scope = ()

    def cast(self, before: torch.dtype, now: torch.dtype) -> "Example":
        """The same call with tensors of the dtype `before` cast to `now`, for a model that has been cast."""

        def cast(item: Any) -> Any:
            return item.to(now) if isinstance(item, Tensor) and item.dtype is before else item

        return replace(self, args=map_nested(self.args, cast), kwargs=map_nested(self.kwargs, cast))


@dataclass(frozen=True)
class ModelTrace:
    """The graphs that a model is to run as, and the names of what it runs."""

    eval_graph: fx.Graph
    """The whole model in eval mode. With islands, a record of one run, which must not be run itself."""

    parts: dict[str, Part]
    """The modules that run as graphs, by qualified name, which is empty for the model itself."""

    examples: dict[str, Example]
    """The call with which each of `parts` was traced."""

    extra_attributes: dict[str, Any]
    """Modules, tensors and objects that graphs fetch but the model does not have, by attribute name."""

    islands: dict[str, FoundIsland] = field(default_factory=dict)
    """The modules that run their own code, by qualified name."""

    sites_in_parts: dict[str, OpCall] = field(default_factory=dict)
    """Operator in the graph of a part, for each conv2d in `eval_graph` that a part runs, by address.

    Several calls of a part lead to the same operator, because the part has one graph for all of them.
    """

    unreachable_sites: dict[str, FoundIsland] = field(default_factory=dict)
    """The island whose code calls it, for each other conv2d in `eval_graph`, by address."""

    other_calls: tuple[Part, ...] = ()
    """The graphs of the whole model for the further example calls of `with_other_calls`."""

    other_examples: tuple[Example, ...] = ()
    """The arguments of each of `other_calls`."""

    @property
    def specialisations(self) -> tuple[Specialisation, ...]:
        """The Python values that any of the graphs relies on, without duplicates."""
        found = (s for part in self._all_parts for trace in part.traces for s in trace.specialisations)
        return tuple(dict.fromkeys(found))

    @property
    def graphs(self) -> list[fx.Graph]:
        """All graphs that run, of parts and other calls, in eval and train mode."""
        return [trace.graph for part in self._all_parts for trace in part.traces]

    @property
    def eval_graphs(self) -> list[fx.Graph]:
        """`eval_graph`, then the graphs of eval mode for the other example calls."""
        return [self.eval_graph, *(part.eval_trace.graph for part in self.other_calls)]

    @property
    def _all_parts(self) -> list[Part]:
        return [*self.parts.values(), *self.other_calls]


def trace_model(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaf_modules: tuple[type[nn.Module], ...] = (),
) -> ModelTrace:
    """Trace `root` in eval and train mode, and leave it as it was.

    A module that cannot be traced, for example because its code looks at the content of tensors, becomes an
    island, and the modules that it calls are traced instead. This takes one run of the model with data, in
    eval mode. If only the train mode of `root` itself cannot be traced, `root` is an island in that mode.

    Raises:
        TraceError: the inputs do not fit the model, or it cannot run.
    """
    check_replacements()  # in a thread of its own, which waits for the replacements
    with replacements_kept():
        return _traced(root, args, kwargs, leaf_modules)


def _traced(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaf_modules: tuple[type[nn.Module], ...],
) -> ModelTrace:
    given = (root, args, kwargs, leaf_modules)
    inventory = Inventory(root)
    eval_trace: Trace | None = None
    try:
        eval_trace = trace(root, args, kwargs, training=False, leaf_modules=leaf_modules, inventory=inventory)
        whole = trace_both(*given, eval_trace, inventory)
    except TraceError as error:
        try:
            when = "" if eval_trace is None else "in train mode: "
            return _around_islands(given, eval_trace, {"": when + (error.reason or str(error))})
        except TraceError as with_data:
            # If the trace needed the content of tensors, the error of the run with data is the true reason.
            raise with_data if isinstance(error, ContentError) else error from None
    if whole.eval_trace.islands:
        return _around_islands(given, whole, whole.eval_trace.islands)
    return ModelTrace(
        whole.eval_trace.graph,
        {"": whole},
        {"": _example_of_root(args, kwargs)},
        merge_extra_attributes(root, ((trace.graph, trace.extra_attributes) for trace in whole.traces)),
    )


def with_other_calls(
    found: ModelTrace,
    root: nn.Module,
    calls: Iterable[tuple[tuple[Any, ...], Mapping[str, Any]]],
    leaf_modules: tuple[type[nn.Module], ...] = (),
) -> ModelTrace:
    """Add to `found` the graphs of `root` for the further example `calls`.

    Raises:
        TraceError: the inputs do not fit, or `root` has islands in any of its calls.
    """
    for index, (args, kwargs) in enumerate(calls):
        try:
            other = trace_model(root, args, dict(kwargs), leaf_modules)
        except TraceError as error:
            raise TraceError(f"other_calls[{index}]: {error}") from error
        for path, island in (other.islands or found.islands).items():
            raise TraceError(
                f"other_calls[{index}]: {path or type(root).__name__} has code that no graph can hold, so "
                f"it runs as plain Python in every call: {island.reason}. Leave other_calls out"
            )
        whole = other.parts[""]
        graphs = ((trace.graph, other.extra_attributes) for trace in whole.traces)
        found = replace(
            found,
            other_calls=(*found.other_calls, whole),
            other_examples=(*found.other_examples, other.examples[""]),
            extra_attributes=merge_extra_attributes(root, graphs, found.extra_attributes),
        )
    return found


def _around_islands(
    given: tuple[Any, ...], whole: Part | Trace | None, islands: dict[str, str]
) -> ModelTrace:
    """Trace the parts of a model around its `islands`, given with the reasons by qualified name.

    `whole` is the trace of the model around them, only of eval mode if it is an island in train mode.
    """
    root, args, kwargs, leaf_modules = given
    _check_has_data(root, islands)
    tracer = run_with_data(root, args, kwargs, leaf_modules)
    found = PartFinder(root, leaf_modules, tracer)
    if isinstance(whole, Part):
        reason = found.why_shared(root) or why_assigns(whole)
        if reason:
            whole, islands = None, {"": reason, **islands}
        else:
            found.parts[""] = whole
    found.explore(islands)
    parts, eval_graph = dict(found.parts), tracer.graph
    if isinstance(whole, Trace) and not whole.islands:
        # In eval mode the model is one graph all the same, which can be exported.
        parts[""] = Part(whole, None)
        eval_graph = whole.graph
    graphs = [(trace.graph, trace.extra_attributes) for part in parts.values() for trace in part.traces]
    if eval_graph is tracer.graph:
        graphs.insert(0, (tracer.graph, tracer.attributes.extra_attributes))
    examples = {"": _example_of_root(args, kwargs)} | {path: _example(found, path) for path in parts if path}
    extra_attributes = merge_extra_attributes(root, graphs)
    return _located(ModelTrace(eval_graph, parts, examples, extra_attributes), found)


def _check_has_data(root: nn.Module, islands: dict[str, str]) -> None:
    """Raise TraceError if weights are on the meta device, so that the model cannot run with data."""
    if any(tensor.is_meta for tensor in chain(root.parameters(), root.buffers())):
        path, reason = next(iter(islands.items()))
        raise TraceError(
            f"{path or type(root).__name__} cannot be traced as a whole: {reason}. What it calls is known "
            "only from a run, and its weights are on the meta device: load them before the transform"
        )


def _located(trace: ModelTrace, found: PartFinder) -> ModelTrace:
    """`trace` with the islands in `found`, and where each conv2d runs: in a part, or in an island."""
    islands = {path: FoundIsland(found.scope(path), reason) for path, reason in found.islands.items()}
    sites = {op.address: site for op, site in found.sites()}
    return replace(
        trace,
        islands=islands,
        sites_in_parts={address: site for address, site in sites.items() if isinstance(site, OpCall)},
        unreachable_sites={
            address: islands[site] for address, site in sites.items() if isinstance(site, str)
        },
    )


def _example_of_root(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Example:
    return Example(*map_nested((args, kwargs), without_data))


def _example(found: PartFinder, path: str) -> Example:
    call = found.example(path)
    return Example(call.args, call.kwargs, call.running)


def merge_extra_attributes(
    root: nn.Module, graphs: Iterable[tuple[fx.Graph, dict[str, Any]]], held: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Merge the extra attributes of several graphs, each given with those it refers to.

    Each trace has chosen names by itself, so different objects may have the same name. Such attributes get
    another name, as do those whose name `root` uses for something else, also in the nodes of their graph.

    Args:
        root: the model that is to get the attributes.
        graphs: graphs, each with the attributes that it refers to by name.
        held: attributes that other graphs refer to, whose names stay.
    """
    taken = frozenset(dir(root))
    merged = dict(held or {})
    for graph, extra_attributes in graphs:
        names = {}
        for name, item in extra_attributes.items():
            kind = name.rpartition("_")[0]
            candidates = chain([name], (f"{kind}_{number}" for number in count(len(merged))))
            names[name] = next(
                new for new in candidates if (_same(merged[new], item) if new in merged else new not in taken)
            )
            merged[names[name]] = item
        for node in graph.nodes:
            if node.op in ("get_attr", "call_module"):
                first, dot, rest = node.target.partition(".")
                node.target = f"{names.get(first, first)}{dot}{rest}"
    return merged


def _same(left: Any, right: Any) -> bool:
    """Whether two constants are the same: equal tensors are, as code may create them anew in each trace."""
    if left is right:
        return True
    if not (type(left) is type(right) is Tensor) or (left.shape, left.dtype) != (right.shape, right.dtype):
        return False
    return bool(torch.equal(left, right)) if not left.is_meta else False
