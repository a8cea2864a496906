"""Traces one forward of a module, with example inputs, as a graph."""

import operator
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin import torch_private
from fxbin.errors import FxbinError, TraceError
from fxbin.graph.containers import map_nested
from fxbin.graph.record import OpCall, Specialisation, forget_ops, ops_of
from fxbin.graph.scope import Scope
from fxbin.original.inventory import Inventory
from fxbin.original.state_beyond import StateBeyond
from fxbin.tracing.patches.patching import patched
from fxbin.tracing.patches.reached import check_replacements
from fxbin.tracing.recorder.batch import larger_batch, refuse_batch_size, relies_on_numbers
from fxbin.tracing.recorder.inputs import add_placeholders, bind
from fxbin.tracing.recorder.location import error_location
from fxbin.tracing.recorder.outputs import add_output
from fxbin.tracing.recorder.questions import Question
from fxbin.tracing.recorder.random_kept import python_random_kept
from fxbin.tracing.recorder.reads import MISSING, Read
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.undone.attribute_changes import changes_noted
from fxbin.tracing.undone.beyond import changes_beyond_noted
from fxbin.tracing.undone.state import state_kept, switched
from fxbin.tracing.values.bugs import as_asked, raise_bug
from fxbin.tracing.values.content import ContentError


@dataclass(frozen=True)
class Trace:
    """The graph of one forward, and the conditions under which it does what the code does."""

    graph: fx.Graph
    """The graph, with paths of the root."""

    specialisations: tuple[Specialisation, ...]
    """Python values that the code needed, and that the graph relies on."""

    extra_attributes: dict[str, Any]
    """Modules, tensors and objects that the graph fetches but the root does not have, by attribute name."""

    modes: dict[str, bool] = field(default_factory=dict)
    """Mode of each module whose mode the code reads, by qualified name: True for train mode."""

    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    """Dtypes of parameters and buffers by qualified name, if the code reads the dtype of a tensor."""

    islands: dict[str, str] = field(default_factory=dict)
    """The modules that run their own code, by qualified name, with the reason why no graph can hold it."""

    assigned: tuple[str, ...] = ()
    """Qualified names of attributes that the code changes, which the graph does not."""

    reads: tuple[Read, ...] = ()
    """Attributes that the code has read, whose values the graph takes for granted."""

    followed: tuple[str, ...] = ()
    """Qualified names of the modules whose code the graph contains, so that it does not call them."""

    iterated: tuple[str, ...] = ()
    """Qualified names of the modules whose submodules the code has counted or iterated over."""

    final_values: tuple[Read, ...] = ()
    """Values that the code leaves in attributes, which the graph does not; MISSING if they may differ."""

    questions: tuple[Question, ...] = ()
    """What the code has asked of torch and of tensors, and the answers, which the graph takes for granted."""


@dataclass(frozen=True)
class Entry:
    """The submodule of a model whose forward is traced, and the scope of its caller."""

    module: nn.Module
    running: Scope


def trace(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    training: bool | None,
    leaf_modules: tuple[type[nn.Module], ...] = (),
    islands: Mapping[str, str] | None = None,
    entry: Entry | None = None,
    inventory: Inventory | None = None,
) -> Trace:
    """Trace ``root(*args, **kwargs)``, and leave `root` as it was.

    Only shapes and dtypes of the inputs matter: nothing is computed on them or on the parameters. A module
    whose code looks at the content of tensors becomes an island: one node, in which it runs its own code.

    Args:
        root: the model.
        args: positional inputs.
        kwargs: keyword inputs.
        training: whether to trace train or eval mode; None for the modes that the modules are in.
        leaf_modules: classes of modules to keep whole as one node.
        islands: modules known to be islands, by qualified name, with the reason.
        entry: the submodule to trace in place of `root`, without its hooks, with names and paths of `root`.
            All modules must already be in the mode that `training` says.
        inventory: that of `root`, if the caller traces it more than once.

    Raises:
        TraceError: the inputs do not fit, or the code of `root` itself looks at the content of tensors.
    """
    module = root if entry is None else entry.module
    running = () if entry is None else entry.running
    new_tracer = partial(Tracer, root, leaf_modules, inventory=inventory or Inventory(root))
    found = {root.get_submodule(path): reason for path, reason in (islands or {}).items()}
    shared_before: StateBeyond | None = None
    while True:
        tracer = new_tracer(frozenset(found), entry=module, running=running)
        try:
            _trace_once(tracer, args, kwargs, training=training)
            if entry is None and relies_on_numbers(tracer):
                larger = new_tracer(frozenset(found))
                with suppress(TraceError):  # inputs may not go together in another size
                    _trace_once(larger, *larger_batch((args, kwargs)), training=training)
                refuse_batch_size(tracer, larger)
        except ContentError as error:
            # What was recorded so far is of no use: operators in place changed values that it began with.
            if error.module is None or error.module is module or error.module in found:
                raise
            found[error.module] = error.reason
        else:
            changed = tracer.state.changed_shared
            if changed is None:
                return _result(tracer, found)
            if shared_before is not None:  # no flag that is set once
                shared_before.restore(shared=True)
                tracer.state.changed_beyond.append("a global variable or an attribute of a class")
                return _result(tracer, found)
            shared_before = changed


def _result(tracer: Tracer, islands: Mapping[nn.Module, str]) -> Trace:
    """The `Trace` of what `tracer` has recorded around `islands`, given with the reasons."""
    attributes, state = tracer.attributes, tracer.state
    reasons = {attributes.module_path(island): reason for island, reason in islands.items()}
    for node in tracer.graph.nodes:
        if node.target in reasons:
            forget_ops(node)  # they ran on made-up content, only to count the operators that come after
    paths = attributes.inventory.module_paths
    return Trace(
        tracer.graph,
        tuple(tracer.assumptions.specialisations),
        attributes.extra_attributes,
        modes={attributes.module_path(module): mode for module, mode in state.modes.items()},
        dtypes=dtypes_of(tracer.root) if tracer.assumptions.asks_for_dtypes else {},
        islands=reasons,
        assigned=tuple(f"{paths[module]}.{name}".lstrip(".") for module, name in state.assigned.items()),
        reads=state.reads.all,
        followed=tuple(state.reads.followed),
        iterated=tuple(state.reads.iterated),
        final_values=(*state.final_values, *_never_final(tracer)),
        questions=tracer.questions.all,
    )


def _never_final(tracer: Tracer) -> Iterator[Read]:
    """Yield what the code changes beyond attributes, which may be another thing each time."""
    path = tracer.attributes.module_path(tracer.entry)
    yield from (Read(path, "__dict__", label, MISSING) for label in tracer.state.changed_beyond)


def run_with_data(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaf_modules: tuple[type[nn.Module], ...] = (),
) -> Tracer:
    """Record ``root(*args, **kwargs)`` in eval mode with data, and return the tracer.

    Everything is computed, so code may look at the content of tensors. The names of what ran are right, but
    the graph is valid for these inputs only.

    Raises:
        TraceError: the inputs do not fit.
    """
    tracer = Tracer(root, leaf_modules, with_data=True)
    _trace_once(tracer, args, kwargs, training=False)
    return tracer


def _trace_once(
    tracer: Tracer, args: tuple[Any, ...], kwargs: dict[str, Any], *, training: bool | None
) -> None:
    check_replacements()
    entry = tracer.entry
    is_part = entry is not tracer.root
    # Eval mode runs without gradients, as models are used and as NNCF traces them.
    with (
        torch.set_grad_enabled(entry.training if training is None else training),
        changes_beyond_noted(tracer),
        state_kept(tracer),
        nullcontext() if training is None or is_part else switched(tracer.root, training=training),
        changes_noted(tracer),
    ):
        if is_part:
            _remove_hooks(entry)
        bound = bind(entry, args, kwargs)
        with patched(tracer):
            call_args, call_kwargs = add_placeholders(tracer, bound)
            try:
                with python_random_kept(tracer.attributes.inventory.generators) as used:
                    result = as_asked(entry, *call_args, **call_kwargs)
                if not tracer.position.with_data:
                    _refuse_random_numbers([*used, *tracer.random_sources])
            except Exception as error:
                raise_bug(error)
                raise _trace_error(error, entry, args, kwargs) from error
            add_output(tracer, result)
    _erase_unused_values(tracer.graph)


def dtypes_of(root: nn.Module) -> dict[str, torch.dtype]:
    """Dtypes of the parameters and buffers that ``root.to(dtype)`` casts, by qualified name."""
    tensors = chain(root.named_parameters(), root.named_buffers())
    return {name: x.dtype for name, x in tensors if x.is_floating_point() or x.is_complex()}


def _remove_hooks(module: nn.Module) -> None:
    """Remove the hooks of a part, which run around its graph; `state_kept` restores them."""
    for name in torch_private.CALLED_HOOKS:
        vars(module)[name].clear()


def operators(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    leaf_modules: tuple[type[nn.Module], ...] = (),
) -> list[OpCall]:
    """The operators that ``root(*args, **kwargs)`` runs in eval mode, in execution order.

    A model whose code looks at the content of tensors, and which therefore has no graph, is run with data.

    Raises:
        TraceError: the inputs do not fit.
    """
    try:
        traced = trace(root, args, kwargs, training=False, leaf_modules=leaf_modules)
        graph = None if traced.islands else traced.graph
    except TraceError:
        graph = None
    if graph is None:
        graph = run_with_data(root, args, kwargs, leaf_modules).graph
    return [op for node in graph.nodes for op in ops_of(node)]


def _refuse_random_numbers(used: list[str]) -> None:
    if used:
        raise TraceError(
            f"the code draws numbers from {' and '.join(used)}, and a graph would repeat those of this one "
            "time: draw them with torch, or keep the module that draws them whole with `leaf_modules`"
        )


def _trace_error(
    error: Exception, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> TraceError:
    shapes = map_nested((args, kwargs), _shape_or_kind)
    where = error_location(error.__traceback__) or "an unknown line"
    cause = str(error) if isinstance(error, FxbinError) else f"{type(error).__name__}: {error}"
    kind = ContentError if isinstance(error, ContentError) else TraceError
    explained = kind(
        f"{type(root).__name__} cannot be traced with inputs {shapes[0]} {shapes[1] or ''}".rstrip()
        + f": {cause} (at {where}). If the inputs do not fit the model, correct `input_info` or "
        "`example_inputs`; if the code depends on values, keep its module whole with `leaf_modules`."
    )
    explained.reason = f"{cause} (at {where})"
    if isinstance(error, ContentError) and isinstance(explained, ContentError):
        explained.module = error.module
    return explained


def _shape_or_kind(item: Any) -> Any:
    if isinstance(item, Tensor):
        return tuple(item.shape)
    return item if isinstance(item, type(None) | bool | int | float | str) else type(item)


def _erase_unused_values(graph: fx.Graph) -> None:
    """Erase nodes without users and effects: sizes, items of results, fetched parameters."""
    for node in reversed(graph.nodes):
        if not node.users and _is_read(node) and not any(op.tracked for op in ops_of(node)):
            graph.erase_node(node)


def _is_read(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target == "clone"
    return node.op == "get_attr" or (node.op == "call_function" and node.target in _READS)


_READS = (getattr, operator.getitem, torch.is_grad_enabled)
