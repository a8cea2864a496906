"""The module that a transformed model is."""

import copy
from collections.abc import Iterable
from typing import Any, Self

from torch import fx, nn

from fxbin.binarizers import ignored_by_ddp
from fxbin.errors import TransformError
from fxbin.first_batch import StartsScales
from fxbin.passes.base import Pass, run_passes
from fxbin.state import BinarizationState
from fxbin.tracing import Specialisation, Trace

_IGNORED_BY_USER = "_ddp_params_and_buffers_to_ignore"  # the name that DDP has for it
_TRANSPARENT_WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.")
_RESERVED = ("binarization", "specialisations")


class _OriginalInitBarrier(nn.Module):
    """Stands before the original class in the method resolution order: its `__init__` must not run again."""

    def __init__(self) -> None:
        nn.Module.__init__(self)


class BinarizedModule(StartsScales, fx.GraphModule, _OriginalInitBarrier):
    """A model as graphs: one for eval mode and, where its code differs, one for train mode.

    Both run on one set of parameters, buffers and submodules, which stay where the original model
    had them. The class of the original is a base class, so that its methods and attributes live on.
    """

    binarization: BinarizationState
    """What is binarized, what of it is enabled, and the config that says when."""

    specialisations: tuple[Specialisation, ...]
    """Values that the code depends on and that the graphs therefore take for granted."""

    _train_graph: fx.Graph | None

    @classmethod
    def from_traces(cls, root: nn.Module, evaluated: Trace, trained: Trace) -> "BinarizedModule":
        """`root`, run by what was traced of it. It gives up its parameters and submodules."""
        for name in _RESERVED:
            if hasattr(root, name):
                raise TransformError(
                    f"{type(root).__name__}.{name}: fxbin keeps its own state under that name; "
                    "rename the attribute of the model"
                )
        _check_spelling(evaluated.graph, trained.graph)
        binarized_class = type(type(root).__name__, (cls, type(root)), {"__module__": type(root).__module__})
        # Not registered: they were no part of the original's state_dict.
        vars(root).update(evaluated.homeless | trained.homeless)
        module: BinarizedModule = binarized_class(root, evaluated.graph, class_name=type(root).__name__)
        module._adopt(root)
        same = _listing(evaluated.graph) == _listing(trained.graph)
        module._train_graph = None if same else trained.graph
        module.specialisations = tuple(dict.fromkeys(evaluated.specialisations + trained.specialisations))
        # Not `train`: layers that the user put into eval mode, to freeze them, stay in it.
        module.training = root.training
        return module

    def _adopt(self, root: nn.Module) -> None:
        """Take over all that `root` holds, in its order, and what the graphs use beside that."""
        for name, value in vars(root).items():
            if name in _REGISTRIES or name not in vars(self):
                vars(self)[name] = value

    @property
    def graphs(self) -> tuple[fx.Graph, ...]:
        """The graph of eval mode, then that of train mode if it is another."""
        return (self.graph,) if self._train_graph is None else (self.graph, self._train_graph)

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
        changed = run_passes(self, passes)
        if self._train_graph is not None:
            eval_graph, train_graph = self.graph, self._train_graph
            self._train_graph = None  # so that it is the main graph which is compiled meanwhile
            try:
                self.graph = train_graph
                changed |= run_passes(self, passes)
            finally:
                self._train_graph = self.graph
                self.graph = eval_graph
        return changed

    def recompile(self) -> Any:
        """Generate the code of both graphs; `training` chooses between them at each call."""
        code = super().recompile()
        # What GraphModule puts around each call hides errors of it under torch.compile(fullgraph=True):
        # the compiler trips over its handler. Tracebacks name the line of the graph without it, too.
        del type(self).__call__
        train_graph = vars(self).get("_train_graph")
        if train_graph is not None:
            evaluate, train = type(self).forward, _compiled(train_graph)

            def forward(self: BinarizedModule, *args: Any, **kwargs: Any) -> Any:
                return train(self, *args, **kwargs) if self.training else evaluate(self, *args, **kwargs)

            type(self).forward = forward
        return code

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


def _check_spelling(*graphs: fx.Graph) -> None:
    """Raise TransformError if a module or parameter has a name that torch.fx would write as broken code."""
    for node in (node for graph in graphs for node in graph.nodes):
        if node.op in ("call_module", "get_attr") and any(mark in node.target for mark in '"\\\n\r'):
            raise TransformError(
                f"model: {node.target!r} has a quote, a backslash or a line break in its name, "
                "which the code of a graph cannot hold; rename it"
            )


def _compiled(graph: fx.Graph) -> Any:
    """The function that runs `graph`, with the module as its first argument."""
    code = graph.python_code(root_module="self")
    namespace = dict(code.globals)
    exec(compile(code.src, "<train-mode graph>", "exec"), namespace)  # noqa: S102 (as GraphModule does)
    return namespace["forward"]


def _listing(graph: fx.Graph) -> list[tuple[Any, ...]]:
    """The graph as plain data, to compare two."""
    return [(node.op, node.target, repr(node.args), repr(node.kwargs)) for node in graph.nodes]
