"""The module that a transformed model is."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from torch import fx, nn

from fxbin.binarizers import ignored_by_ddp
from fxbin.errors import TransformError
from fxbin.first_batch import StartsScales
from fxbin.part_forward import PartForward, PartGraphs, compiled
from fxbin.passes.base import Pass, run_passes
from fxbin.state import BinarizationState
from fxbin.tracing import Island, ModelTrace, Part, Specialisation

_IGNORED_BY_USER = "_ddp_params_and_buffers_to_ignore"  # the name that DDP has for it
_TRANSPARENT_WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.")
_RESERVED = ("binarization", "specialisations", "islands")


class _OriginalInitBarrier(nn.Module):
    """Stands before the original class in the method resolution order: its `__init__` must not run again."""

    def __init__(self) -> None:
        nn.Module.__init__(self)


class BinarizedModule(StartsScales, fx.GraphModule, _OriginalInitBarrier):
    """A model as graphs: one for eval mode and, where its code differs, one for train mode.

    Both run on one set of parameters, buffers and submodules, which stay where the original model
    had them. The class of the original is a base class, so that its methods and attributes live on.

    A model with islands has graphs for the parts around them. Its own `graph` then shows what eval mode
    did for the example inputs, and is not what runs.
    """

    binarization: BinarizationState
    """What is binarized, what of it is enabled, and the config that says when."""

    specialisations: tuple[Specialisation, ...]
    """Values that the code depends on and that the graphs therefore take for granted."""

    islands: tuple[Island, ...]
    """Modules that run as they are, around parts that run as graphs, and why."""

    _others: dict[bool, fx.Graph | None]
    """What runs in train mode (True) and in eval mode (False) where it is not `graph`; None: the own code."""

    _parts: dict[str, PartForward]

    @classmethod
    def from_trace(
        cls, root: nn.Module, found: ModelTrace, islands: tuple[Island, ...] = ()
    ) -> "BinarizedModule":
        """`root`, run by what was traced of it. It gives up its parameters and submodules."""
        for name in _RESERVED:
            if hasattr(root, name):
                raise TransformError(
                    f"{type(root).__name__}.{name}: fxbin keeps its own state under that name; "
                    "rename the attribute of the model"
                )
        _check_spelling(found.seen, *(trace.graph for part in found.parts.values() for trace in part.traces))
        binarized_class = type(type(root).__name__, (cls, type(root)), {"__module__": type(root).__module__})
        # Not registered: they were no part of the original's state_dict.
        vars(root).update(found.homeless)
        # An empty one first: it would make buffers of tensors that the graph finds in plain attributes.
        name = type(root).__name__
        module: BinarizedModule = binarized_class(nn.Module(), fx.Graph(), class_name=name)
        module._adopt(root, *(_HOOKS if "" not in found.parts else ()))
        module.graph = found.seen
        module._others = module._not_shown(found)
        module._parts = {}
        for path, part in found.parts.items():
            if path:
                module._parts[path] = PartForward(module, root.get_submodule(path), _part_graphs(part))
                vars(root.get_submodule(path))["forward"] = module._parts[path]
        module.specialisations, module.islands = found.specialisations, islands
        # Not `train`: layers that the user put into eval mode, to freeze them, stay in it.
        module.training = root.training
        return module

    def _adopt(self, root: nn.Module, *replaced: str) -> None:
        """Take over all that `root` holds, in its order, and what the graphs use beside that."""
        for name, value in vars(root).items():
            if name in _REGISTRIES or name in replaced or name not in vars(self):
                vars(self)[name] = value

    def _not_shown(self, found: ModelTrace) -> dict[bool, fx.Graph | None]:
        """What runs beside `graph`, or in place of it."""
        whole = found.parts.get("")
        if whole is None:
            return {False: None, True: None}
        graphs = _part_graphs(whole)
        running = {False: graphs.evaluate, True: graphs.train}
        return {training: graph for training, graph in running.items() if graph is not self.graph}

    @property
    def graphs(self) -> tuple[fx.Graph, ...]:
        """The graph of eval mode, then that of train mode if it is another."""
        trained = self._others.get(True)
        return (self.graph,) if trained is None or self.is_shown_only else (self.graph, trained)

    def running(self, *, training: bool) -> fx.Graph | None:
        """What runs in train or in eval mode; None if that is the model's own code."""
        return self._others.get(training, self.graph)

    @property
    def parts(self) -> Mapping[str, PartForward]:
        """By qualified name, the submodules around islands that have graphs of their own."""
        return self._parts

    @property
    def is_shown_only(self) -> bool:
        """Whether `graph` is what one run did, and not what runs."""
        return False in self._others

    @property
    def all_graphs(self) -> tuple[fx.Graph, ...]:
        """`graph` and whatever else runs, those of parts included, each once."""
        graphs = [self.graph, *self._others.values()]
        for part in self._parts.values():
            graphs += part.graphs.all()
        return tuple(dict.fromkeys(graph for graph in graphs if graph is not None))

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """What DistributedDataParallel, which reads this of the module it wraps, leaves to the binarizers."""
        names = [*vars(self).get(_IGNORED_BY_USER, ()), *ignored_by_ddp(self)]
        # Wrappers that pass on attributes, torch.compile's first of all, have the names with a prefix.
        return [prefix + name for prefix in ("", *_TRANSPARENT_WRAPPERS) for name in names]

    @_ddp_params_and_buffers_to_ignore.setter
    def _ddp_params_and_buffers_to_ignore(self, names: Iterable[str]) -> None:
        vars(self)[_IGNORED_BY_USER] = list(names)

    def rewrite(self, passes: list[Pass]) -> bool:
        """Run `passes` on each graph; return whether anything changed."""
        shown, changed = self.graph, False
        self._is_rewriting = True
        try:
            for graph in self.all_graphs:
                self.graph = graph
                changed |= run_passes(self, passes)
        finally:
            self._is_rewriting = False
            self.graph = shown
        return changed

    def recompile(self) -> Any:
        """Generate the code of all graphs; `training` chooses between them at each call."""
        if vars(self).get("_is_rewriting"):
            return None  # each graph in turn is the main one
        code = super().recompile()
        # What GraphModule puts around each call hides errors of it under torch.compile(fullgraph=True):
        # the compiler trips over its handler. Tracebacks name the line of the graph without it, too.
        del type(self).__call__
        for part in vars(self).get("_parts", {}).values():
            part.compile()
        others = {
            training: _own_forward(type(self)) if graph is None else compiled(graph)
            for training, graph in vars(self).get("_others", {}).items()
        }
        evaluate, train = (others.get(training, type(self).forward) for training in (False, True))

        def forward(self: BinarizedModule, *args: Any, **kwargs: Any) -> Any:
            return train(self, *args, **kwargs) if self.training else evaluate(self, *args, **kwargs)

        type(self).forward = evaluate if evaluate is train else forward
        return code

    def _replicate_for_data_parallel(self) -> fx.GraphModule:
        if self._parts:
            raise TransformError(
                f"DataParallel: the parts of {type(self).__name__} run on the parameters of this one model; "
                "use DistributedDataParallel"
            )
        return super()._replicate_for_data_parallel()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # GraphModule would copy what its graph refers to and lose the rest.
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        for name, value in vars(self).items():
            if (
                name != "_compiled_call_impl"
            ):  # compiled from the original; a copy is not compiled, as in torch
                vars(copied)[name] = copy.deepcopy(value, memo)
        copied.graph.owning_module = copied
        copied.recompile()
        return copied


_REGISTRIES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
_HOOKS = tuple(name for name in vars(nn.Module()) if name.startswith(("_forward_", "_backward_")))
"""What runs around a forward; the graph of a model has it inside."""


def _own_forward(kind: type) -> Callable[..., Any]:
    """The forward of the original class."""
    order = kind.__mro__
    classes = order[order.index(_OriginalInitBarrier) + 1 :]
    forward: Callable[..., Any] = next(vars(cls)["forward"] for cls in classes if "forward" in vars(cls))
    return forward


def _part_graphs(part: Part) -> PartGraphs:
    """The graphs of `part`, one for both modes where they are equal."""
    evaluated, trained = part.evaluated.graph, None if part.trained is None else part.trained.graph
    same = trained is not None and _listing(evaluated) == _listing(trained)
    return PartGraphs(evaluated, evaluated if same else trained)


def _check_spelling(*graphs: fx.Graph) -> None:
    """Raise TransformError if a module or parameter has a name that torch.fx would write as broken code."""
    for node in (node for graph in graphs for node in graph.nodes):
        if node.op in ("call_module", "get_attr") and any(mark in node.target for mark in '"\\\n\r'):
            raise TransformError(
                f"model: {node.target!r} has a quote, a backslash or a line break in its name, "
                "which the code of a graph cannot hold; rename it"
            )


def _listing(graph: fx.Graph) -> list[tuple[Any, ...]]:
    """The graph as plain data, to compare two."""
    return [(node.op, node.target, repr(node.args), repr(node.kwargs)) for node in graph.nodes]
