"""A model as graphs: one of the whole, or, around code that no graph can hold, one of each part."""

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
from fxbin.original.holdings import Holdings
from fxbin.tracing.parts import Part, PartFinder, trace_both, why_assigns
from fxbin.tracing.stay import without_data
from fxbin.tracing.trace import Trace, run_with_data, trace
from fxbin.tracing.values.content import ContentError


@dataclass(frozen=True)
class FoundIsland:
    """A module that runs as it is, and why."""

    scope: Scope
    reason: str


@dataclass(frozen=True)
class Example:
    """How the model or a part of it is called, and from where. Tensors have shapes, but no data."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    running: Scope = ()

    def cast(self, before: torch.dtype, now: torch.dtype) -> "Example":
        """The same call of a model that has been cast from one dtype to another."""

        def cast(item: Any) -> Any:
            return item.to(now) if isinstance(item, Tensor) and item.dtype is before else item

        return replace(self, args=map_nested(self.args, cast), kwargs=map_nested(self.kwargs, cast))


@dataclass(frozen=True)
class ModelTrace:
    """What a model does, and which graphs it is to run as."""

    seen: fx.Graph
    """All of eval mode. Where there are islands it shows one run of the model, and must not be run itself."""

    parts: dict[str, Part]
    """By qualified name; that of the model itself is empty."""

    examples: dict[str, Example]
    """For each of `parts`."""

    homeless: dict[str, Any]
    """What the graphs refer to though the model does not hold it, by the name it is referred to by."""

    islands: dict[str, FoundIsland] = field(default_factory=dict)
    """By qualified name."""

    homes: dict[str, OpCall] = field(default_factory=dict)
    """By the address of each conv2d in `seen` that a part runs, what it is in the graph of that part.

    A part is called any number of times, and has one graph for all of them.
    """

    stranded: dict[str, FoundIsland] = field(default_factory=dict)
    """By the address of each other conv2d in `seen`, the island whose code calls it."""

    other_calls: tuple[Part, ...] = ()
    """What the whole model does in other calls than the one that all else is about."""

    other_examples: tuple[Example, ...] = ()
    """For each of `other_calls`."""

    @property
    def specialisations(self) -> tuple[Specialisation, ...]:
        """Of all graphs, once each."""
        found = (s for part in self._all_parts for trace in part.traces for s in trace.specialisations)
        return tuple(dict.fromkeys(found))

    @property
    def graphs(self) -> list[fx.Graph]:
        """Those that run."""
        return [trace.graph for part in self._all_parts for trace in part.traces]

    @property
    def evaluated(self) -> list[fx.Graph]:
        """What eval mode does in each call."""
        return [self.seen, *(part.evaluated.graph for part in self.other_calls)]

    @property
    def _all_parts(self) -> list[Part]:
        return [*self.parts.values(), *self.other_calls]


def trace_model(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaf_modules: tuple[type[nn.Module], ...] = (),
) -> ModelTrace:
    """The graphs of `root`, which is left as it was.

    A module that cannot be traced, since its code looks at the content of tensors or for another reason,
    becomes an island, and the modules that it calls are traced instead. That takes one run of the model
    in eval mode, with data. If `root` itself cannot be traced in train mode only, it is an island there.

    Raises:
        TraceError: the inputs do not fit the model, or it cannot be run.
    """
    given = (root, args, kwargs, leaf_modules)
    holdings = Holdings(root)
    evaluated: Trace | None = None
    try:
        evaluated = trace(root, args, kwargs, training=False, leaf_modules=leaf_modules, holdings=holdings)
        whole = trace_both(*given, evaluated, holdings)
    except TraceError as error:
        try:
            when = "" if evaluated is None else "in train mode: "
            return _around_islands(given, evaluated, {"": when + (error.reason or str(error))})
        except TraceError as with_data:
            # Where content was needed, what went wrong with content there is the true reason.
            raise with_data if isinstance(error, ContentError) else error from None
    if whole.evaluated.islands:
        return _around_islands(given, whole, whole.evaluated.islands)
    return ModelTrace(
        whole.evaluated.graph,
        {"": whole},
        {"": _example_of_root(args, kwargs)},
        told_apart(root, ((trace.graph, trace.homeless) for trace in whole.traces)),
    )


def with_other_calls(
    found: ModelTrace,
    root: nn.Module,
    calls: Iterable[tuple[tuple[Any, ...], Mapping[str, Any]]],
    leaf_modules: tuple[type[nn.Module], ...] = (),
) -> ModelTrace:
    """`found`, and the graphs of `root` for `calls`.

    Raises:
        TraceError: a graph can hold only part of what `root` does.
    """
    for index, (args, kwargs) in enumerate(calls):
        try:
            other = trace_model(root, args, dict(kwargs), leaf_modules)
        except TraceError as error:
            raise TraceError(f"other_calls[{index}]: {error}") from error
        for path, island in (other.islands or found.islands).items():
            raise TraceError(
                f"other_calls[{index}]: {path or type(root).__name__} has code that no graph can hold, and "
                f"which runs as it is in every call: {island.reason}. Leave other_calls out"
            )
        whole = other.parts[""]
        graphs = ((trace.graph, other.homeless) for trace in whole.traces)
        found = replace(
            found,
            other_calls=(*found.other_calls, whole),
            other_examples=(*found.other_examples, other.examples[""]),
            homeless=told_apart(root, graphs, found.homeless),
        )
    return found


def _around_islands(
    given: tuple[Any, ...], whole: Part | Trace | None, islands: dict[str, str]
) -> ModelTrace:
    """What a model does that has islands.

    `whole` is the model around them, or its eval mode where it is an island in train mode only.
    """
    root, args, kwargs, leaf_modules = given
    if any(tensor.is_meta for tensor in chain(root.parameters(), root.buffers())):
        path, reason = next(iter(islands.items()))
        raise TraceError(
            f"{path or type(root).__name__} cannot be traced as a whole: {reason}. What it calls is known "
            "only from a run, and its weights are on the meta device: load them before the transform"
        )
    tracer = run_with_data(root, args, kwargs, leaf_modules)
    found = PartFinder(root, leaf_modules, tracer)
    if isinstance(whole, Part):
        reason = found.why_shared(root) or why_assigns(whole)
        if reason:
            whole, islands = None, {"": reason, **islands}
        else:
            found.parts[""] = whole
    found.explore(islands)
    parts = dict(found.parts)
    seen = tracer.graph
    if isinstance(whole, Trace) and not whole.islands:
        # In eval mode the model is one graph all the same, which can be exported.
        parts[""] = Part(whole, None)
        seen = whole.graph
    graphs = [(tracer.graph, tracer.attributes.homeless)] if seen is tracer.graph else []
    graphs += [(trace.graph, trace.homeless) for part in parts.values() for trace in part.traces]
    found_islands = {path: FoundIsland(found.scope(path), reason) for path, reason in found.islands.items()}
    sites = {op.address: home for op, home in found.sites()}
    return ModelTrace(
        seen,
        parts,
        {"": _example_of_root(args, kwargs)} | {path: _example(found, path) for path in parts if path},
        told_apart(root, graphs),
        found_islands,
        {address: home for address, home in sites.items() if isinstance(home, OpCall)},
        {address: found_islands[home] for address, home in sites.items() if isinstance(home, str)},
    )


def _example_of_root(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Example:
    return Example(*map_nested((args, kwargs), without_data))


def _example(found: PartFinder, path: str) -> Example:
    stay = found.example(path)
    return Example(stay.args, stay.kwargs, stay.running)


def told_apart(
    root: nn.Module, graphs: Iterable[tuple[fx.Graph, dict[str, Any]]], held: dict[str, Any] | None = None
) -> dict[str, Any]:
    """All that graphs refer to by names that each has chosen for itself; what differs gets another name.

    None gets a name that `root` has for something else. `held` is what other graphs refer to.
    """
    taken = frozenset(dir(root))
    merged = dict(held or {})
    for graph, homeless in graphs:
        names = {}
        for name, item in homeless.items():
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
    """Whether two constants are one: a tensor that code makes at each call is another one in each trace."""
    if left is right:
        return True
    if not (type(left) is type(right) is Tensor) or (left.shape, left.dtype) != (right.shape, right.dtype):
        return False
    return bool(torch.equal(left, right)) if not left.is_meta else False
