"""From a module and example inputs to the graph of one forward."""

import operator
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin import torch_private
from fxbin.errors import FxbinError, TraceError
from fxbin.graph.containers import map_nested
from fxbin.graph.record import OpCall, Specialisation, forget_ops, ops_of
from fxbin.graph.scope import Scope
from fxbin.original.holdings import Holdings
from fxbin.tracing.patches.patching import patched
from fxbin.tracing.patches.reached import check_replacements
from fxbin.tracing.recorder.batch import larger_batch, refuse_batch_size, relies_on_numbers
from fxbin.tracing.recorder.inputs import add_placeholders, bind
from fxbin.tracing.recorder.location import error_location
from fxbin.tracing.recorder.outputs import add_output
from fxbin.tracing.recorder.random_kept import python_random_kept
from fxbin.tracing.recorder.reads import Read
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.undone.left import changes_noted
from fxbin.tracing.undone.state import state_kept, switched
from fxbin.tracing.values.bugs import as_asked, raise_bug
from fxbin.tracing.values.content import ContentError


@dataclass(frozen=True)
class Trace:
    """What one forward of a model does."""

    graph: fx.Graph
    specialisations: tuple[Specialisation, ...]

    homeless: dict[str, Any]
    """What the graph refers to though the root does not hold it, by the name it is referred to by."""

    modes: dict[str, bool] = field(default_factory=dict)
    """The modules, by their names, whose mode the code looked at; True for train mode."""

    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    """Those of all parameters and buffers, by their names, if the code asks for the dtype of a tensor."""

    islands: dict[str, str] = field(default_factory=dict)
    """Why modules, by their names, run as they are, since no graph can hold what their code does."""

    assigned: tuple[str, ...] = ()
    """Attributes that the code changes, which the graph does not, with the names of their modules."""

    reads: tuple[Read, ...] = ()
    """What the graph takes for granted of what modules hold."""

    followed: tuple[str, ...] = ()
    """The modules, by their names, that the graph goes past: it holds what their code does."""

    iterated: tuple[str, ...] = ()
    """Those, by their names, of which it holds that they have so many submodules."""

    left: tuple[Read, ...] = ()
    """What the code leaves in attributes, which the graph does not; MISSING for what may differ each time."""


@dataclass(frozen=True)
class Entry:
    """The part of a model whose forward is traced, and where it is called from."""

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
    holdings: Holdings | None = None,
) -> Trace:
    """The graph of ``root(*args, **kwargs)`` in train or eval mode; `root` is left as it was.

    `training` None means the modes that the modules are in.

    Only shapes and dtypes of the inputs matter: nothing is computed on them or on the parameters.

    A module whose code looks at the content of tensors becomes an island: one node, inside of which
    it runs as it is. `islands` are modules, by name, that are known to be some, and why.

    With an `entry` the graph is that of ``entry.module(*args, **kwargs)``, without hooks of that one
    module, in the names and paths of `root`. All modules must be in the mode that `training` says.

    `holdings` are those of `root`, from whoever traces it more than once.

    Raises:
        TraceError: the inputs do not fit, or the code of `root` itself looks at the content of tensors.
    """
    module = root if entry is None else entry.module
    running = () if entry is None else entry.running
    holdings = holdings or Holdings(root)
    found = {root.get_submodule(path): reason for path, reason in (islands or {}).items()}
    while True:
        tracer = Tracer(
            root, leaf_modules, frozenset(found), entry=module, running=running, holdings=holdings
        )
        try:
            _trace_once(tracer, args, kwargs, training=training)
            if entry is None and relies_on_numbers(tracer):
                larger = Tracer(root, leaf_modules, frozenset(found), holdings=holdings)
                with suppress(TraceError):  # inputs may not go together in another size
                    _trace_once(larger, *larger_batch((args, kwargs)), training=training)
                refuse_batch_size(tracer, larger)
        except ContentError as error:
            # What was followed up to there is of no use: in place, it changed values that it began with.
            if error.module is None or error.module is module or error.module in found:
                raise
            found[error.module] = error.reason
            continue
        reasons = {tracer.attributes.module_path(island): reason for island, reason in found.items()}
        for node in tracer.graph.nodes:
            if node.target in reasons:
                forget_ops(node)  # what ran in it for the names of the rest, on content made up
        modes = {tracer.attributes.module_path(module): mode for module, mode in tracer.state.modes.items()}
        paths = tracer.attributes.holdings.module_paths
        return Trace(
            tracer.graph,
            tuple(tracer.assumptions.found),
            tracer.attributes.homeless,
            modes,
            dtypes_of(root) if tracer.assumptions.asks_for_dtypes else {},
            reasons,
            tuple(f"{paths[module]}.{name}".lstrip(".") for module, name in tracer.state.assigned.items()),
            tracer.state.reads.all,
            tuple(tracer.state.reads.followed),
            tuple(tracer.state.reads.iterated),
            tuple(tracer.state.left),
        )


def run_with_data(
    root: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaf_modules: tuple[type[nn.Module], ...] = (),
) -> Tracer:
    """What a tracer has seen of ``root(*args, **kwargs)`` in eval mode, code that looks at content included.

    Everything is computed. What ran is then known by name, but the graph is good for these inputs only.

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
    # In eval mode without gradients, as it is used, and as the reference looks at it.
    with (
        torch.set_grad_enabled(entry.training if training is None else training),
        state_kept(tracer),
        nullcontext() if training is None or is_part else switched(tracer.root, training=training),
        changes_noted(tracer),
    ):
        if is_part:
            _take_off_hooks(entry)
        bound = bind(entry, args, kwargs)
        with patched(tracer):
            call_args, call_kwargs = add_placeholders(tracer, bound)
            try:
                with python_random_kept(tracer.attributes.holdings.generators) as used:
                    result = as_asked(entry, *call_args, **call_kwargs)
                if not tracer.position.with_data:
                    _refuse_chance([*used, *tracer.chance])
            except Exception as error:
                raise_bug(error)
                raise _explained(error, entry, args, kwargs) from error
            add_output(tracer, result)
    _erase_unused_values(tracer.graph)


def dtypes_of(root: nn.Module) -> dict[str, torch.dtype]:
    """Those that ``root.to(dtype)`` changes."""
    tensors = chain(root.named_parameters(), root.named_buffers())
    return {name: x.dtype for name, x in tensors if x.is_floating_point() or x.is_complex()}


def _take_off_hooks(module: nn.Module) -> None:
    """Hooks of a part that is called as a module run around its graph. `state_kept` puts them back."""
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

    They are known for models too whose code looks at the content of tensors, and which therefore have
    no graph: such a model is run.

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


def _refuse_chance(used: list[str]) -> None:
    if used:
        raise TraceError(
            f"the code draws numbers from {' and '.join(used)}, and a graph would repeat those of this one "
            "time: draw them with torch, or keep the module that draws them whole with `leaf_modules`"
        )


def _explained(
    error: Exception, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> TraceError:
    shapes = map_nested((args, kwargs), _in_short)
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


def _in_short(item: Any) -> Any:
    if isinstance(item, Tensor):
        return tuple(item.shape)
    return item if isinstance(item, type(None) | bool | int | float | str) else type(item)


def _erase_unused_values(graph: fx.Graph) -> None:
    """Drop what has no effect and is used by nobody: sizes, parts of results, fetched parameters."""
    for node in reversed(graph.nodes):
        if not node.users and _is_read(node) and not any(op.tracked for op in ops_of(node)):
            graph.erase_node(node)


def _is_read(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target == "clone"
    return node.op == "get_attr" or (node.op == "call_function" and node.target in _READS)


_READS = (getattr, operator.getitem, torch.is_grad_enabled)
