"""The module that a transformed model is."""

import copy
import keyword
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MethodType
from typing import Any, NoReturn, Self, SupportsIndex, cast

import torch
from torch import fx, nn

from fxbin.binarizers import IGNORED_BY_DDP, ignored_by_ddp
from fxbin.closures import rebound
from fxbin.errors import ExportError, TransformError
from fxbin.first_batch import StartsScales
from fxbin.mode_graphs import GraphChoice, ModeGraph, counted_alone, graphs_of_calls, mode_graphs
from fxbin.model_copy import copies_made
from fxbin.onlookers import check_for_inference
from fxbin.own_code import OwnCode, calls_conv2d, method_of_model
from fxbin.part_forward import PartForward
from fxbin.passes.base import Pass, run_passes
from fxbin.refused_methods import refusals
from fxbin.reserved_names import check_names
from fxbin.retrace import Retracer
from fxbin.state import BinarizationState
from fxbin.state_check import check_state_dict
from fxbin.tracing import Island, ModelTrace, Specialisation
from fxbin.tracing.reach import HOOKS

_TRANSPARENT_WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.")


class _OriginalInitBarrier(nn.Module):
    """Stands before the original class in the method resolution order: it must not be set up again."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        return object.__new__(cls)

    def __init__(self) -> None:
        nn.Module.__init__(self)


class BinarizedModule(StartsScales, fx.GraphModule, _OriginalInitBarrier):
    """A model as graphs: one for eval mode and, where its code differs, one for train mode.

    More are traced when they are needed, for modes of single modules. All run on one set of parameters,
    buffers and submodules, which stay where the original model had them. The class of the original is a
    base class, so that its methods and attributes live on.

    A model with islands has graphs for the parts around them. Its own `graph` then shows what eval mode
    did for the example inputs, and is not what runs.
    """

    binarization: BinarizationState
    """What is binarized, what of it is enabled, and the config that says when."""

    specialisations: tuple[Specialisation, ...]
    """Values that the code depends on and that the graphs therefore take for granted."""

    islands: tuple[Island, ...]
    """Modules that run as they are, around parts that run as graphs, and why."""

    own_code: OwnCode
    """What runs where graphs do not: the model's own code, with binarized convolutions."""
    _original_class: type[nn.Module]

    _put_on: Callable[..., Any] | None
    """The `forward` that was an attribute of the model, in place of that of its class."""

    _graph_choice: GraphChoice
    """What runs."""

    _retracer: Retracer

    _traced_parts: dict[str, PartForward]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """A new one of its class is one of the original's: ``model[:3]`` of an `nn.Sequential` makes one."""
        if args or kwargs:
            return cls._original_class(*args, **kwargs)  # type: ignore[return-value]
        return super().__new__(cls)

    @classmethod
    def from_trace(
        cls, root: nn.Module, found: ModelTrace, islands: tuple[Island, ...] = ()
    ) -> "BinarizedModule":
        """`root` itself, run from now on by what was traced of it.

        The same object: whoever holds it, as a hook does that is one of its methods, holds the result.
        """
        _check_spelling(found.seen, *found.graphs)
        _check_runs_as_it_is(root, found)
        original = type(root)
        content = {
            "__module__": original.__module__,
            "_original_class": original,
            **_methods_with_convolutions(original),
            **refusals(original),
        }
        binarized_class: Any = type(original.__name__, (cls, original), content)
        # An empty one shows what such an object has of its own. Classes derived from GraphModule take other
        # arguments than it does, so that they are not asked.
        empty = binarized_class.__new__(binarized_class)
        fx.GraphModule.__init__(empty, nn.Module(), fx.Graph(), class_name=original.__name__)
        if isinstance(vars(root).get("meta"), dict):
            del empty.meta  # GraphModule's own, which is empty: torch asks both for keys that only it writes
        check_names(root, cls, (*vars(empty), *BinarizedModule.__annotations__))
        # Homeless ones are not registered: they were no part of the original's state_dict.
        vars(root).update(found.homeless)
        kept = {*vars(nn.Module())} - ({*HOOKS} if "" in found.parts else set())  # which a graph has inside
        vars(root).update({name: value for name, value in vars(empty).items() if name not in kept})
        # One that was put on the model would go before what the graphs do, which is what it does.
        vars(root)["_put_on"] = vars(root).pop("forward", None)
        object.__setattr__(root, "__class__", type(empty))
        module = cast("BinarizedModule", root)
        module.graph = found.seen
        module.own_code = OwnCode()
        whole = found.parts.get("")
        module._graph_choice = GraphChoice(
            module,
            "",
            [ModeGraph({}, None)] if whole is None else graphs_of_calls((whole, *found.other_calls)),
        )
        module._traced_parts = {
            path: PartForward(module, path, mode_graphs(path, part))
            for path, part in found.parts.items()
            if path
        }
        module.specialisations, module.islands = found.specialisations, islands
        return module

    @property
    def traced_graphs(self) -> tuple[fx.Graph, ...]:
        """The graph of eval mode, then those of other modes that differ."""
        return (self.graph,) if self.is_shown_only else tuple(self._graph_choice.graphs)

    @property
    def evaluated_graphs(self) -> tuple[fx.Graph, ...]:
        """`graph`, and what eval mode does for the other example calls."""
        return (self.graph, *(graph for graph in self._graph_choice.evaluated[1:] if graph is not None))

    def graph_of_mode(self, *, training: bool) -> fx.Graph | None:
        """What runs in train or in eval mode of all modules; None if that is the model's own code."""
        return self._graph_choice.running(training=training)

    def graph_for(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> fx.Graph | None:
        """What runs for these arguments as modules are now; None if that is the model's own code."""
        return self._graph_choice.chosen_for(args, kwargs).graph

    def computed_graph(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> fx.Graph | None:
        """What the model computes for these arguments now, traced anew if need be; None if no graph can."""
        return self._graph_choice.graph_for_now(args, kwargs).graph

    def show_running(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Let `graph` be what the model does for these arguments now, and run that from now on.

        Whatever is done to the model.

        Raises ExportError where no graph can hold that.
        """
        if "forward" in vars(self):
            raise ExportError(
                "forward: it was put on the model after the transform, and no graph knows of it. Take it off "
                "(del model.forward), or put it on the original and transform that"
            )
        variant = self._graph_choice.graph_for_now(args, kwargs)
        if variant.graph is None:
            raise ExportError(
                f"model: no graph can hold what {type(self).__name__} does now: {variant.reason}"
            )
        self._graph_choice.settled = variant
        if variant.graph is not self.graph:
            self.graph = variant.graph

    @property
    def traced_parts(self) -> Mapping[str, PartForward]:
        """By qualified name, the submodules around islands that have graphs of their own."""
        return self._traced_parts

    @property
    def is_shown_only(self) -> bool:
        """Whether `graph` is what one run did, and not what runs."""
        return self.graph_of_mode(training=False) is None

    @property
    def all_graphs(self) -> tuple[fx.Graph, ...]:
        """`graph` and whatever else runs, those of parts included, each once."""
        graphs = [self.graph, *self._graph_choice.graphs]
        for part in self._traced_parts.values():
            graphs += part.graphs
        return tuple(dict.fromkeys(graphs))

    def trace_modes(self, path: str, known: list[ModeGraph], call: int) -> ModeGraph:
        """A graph of the model, or of a part of it, for the modes and dtypes that its modules have now.

        Traced with the example call of that number; without a graph where no graph can hold that.
        """
        return self._retracer.trace(self, path, known, call)

    def own_forward(self) -> Callable[..., Any]:
        """The forward of the original: that of its class, or one that had been put on the model itself."""
        return self._put_on or cast("Callable[..., Any]", MethodType(self._original_class.forward, self))

    def own_run(self) -> Callable[..., Any]:
        """What the original does when it is called, as a function that takes the model first.

        Hooks that the model has been given since the transform run around it.
        """
        put_on, call = self._put_on, self._original_class.__call__
        if issubclass(self._original_class, fx.GraphModule):
            call = type(self).__call__  # what it has of its own shows lines of its graph in tracebacks
        hooks = {} if self.is_shown_only else self._retracer.hooks
        if type(self).__call__ is call and not any(hooks.values()):
            kind = self._original_class

            def forward(model: BinarizedModule, *args: Any, **kwargs: Any) -> Any:
                # Looked up at each call: the class may be given another one.
                return put_on(*args, **kwargs) if put_on else kind.forward(model, *args, **kwargs)

            return self.own_code.around(forward)
        without = {name: type(of_kind)() for name, of_kind in hooks.items()}

        def run(self: BinarizedModule, *args: Any, **kwargs: Any) -> Any:
            attributes = vars(self)
            outer = {name: attributes[name] for name in hooks}
            attributes.update(hooks or without, forward=self.own_forward())
            try:
                return call(self, *args, **kwargs)
            finally:
                del attributes["forward"]
                attributes.update(outer)

        return self.own_code.around(run)

    def train(self, mode: bool = True) -> Self:
        """As the class of the original does it, but for `graph`, which some switch there."""
        graph, self._is_rewriting = self._graph, True  # no code is made of what they switch to
        try:
            super().train(mode)
        finally:
            self._graph, self._is_rewriting = graph, False
        return self

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """What DistributedDataParallel, which reads this of the module it wraps, leaves to the binarizers."""
        names = [*vars(self).get(IGNORED_BY_DDP, ()), *ignored_by_ddp(self)]
        # Wrappers that pass on attributes, torch.compile's first of all, have the names with a prefix.
        return [prefix + name for prefix in ("", *_TRANSPARENT_WRAPPERS) for name in names]

    @_ddp_params_and_buffers_to_ignore.setter
    def _ddp_params_and_buffers_to_ignore(self, names: Iterable[str]) -> None:
        vars(self)[IGNORED_BY_DDP] = list(names)

    def rewrite_graphs(
        self, passes: list[Pass], graphs: Iterable[fx.Graph] | None = None, *, compiles: bool = True
    ) -> bool:
        """Run `passes` on each graph, or on `graphs`; return whether anything changed.

        With `compiles` false, code is not generated: whoever goes on to rewrite leaves that to the last time.
        """
        shown, changed = self.graph, False
        self._is_rewriting = True
        try:
            for graph in self.all_graphs if graphs is None else graphs:
                self.graph = graph
                changed |= run_passes(self, passes)
        finally:
            self._is_rewriting = not compiles
            self.graph = shown
            self._is_rewriting = False
        return changed

    def recompile(self) -> Any:
        """Generate the code of all graphs; `training` chooses between them at each call."""
        if vars(self).get("_is_rewriting"):
            return None  # each graph in turn is the main one
        code = super().recompile()
        # What GraphModule puts around each call hides errors of it under torch.compile(fullgraph=True):
        # the compiler trips over its handler. Tracebacks name the line of the graph without it, too.
        del type(self).__call__
        is_made = issubclass(self._original_class, fx.GraphModule)
        if type(self).__call__ is not nn.Module.__call__ and (is_made or None not in self._whole_graphs()):
            # The graph has what the original class does in its own, and that of a graph module does no more.
            type(self).__call__ = nn.Module.__call__  # type: ignore[method-assign]
        for part in vars(self).get("_traced_parts", {}).values():
            part.compile()
        if "_graph_choice" in vars(self):
            self._graph_choice.compile()
            forward = counted_alone(_chosen)
            vars(forward)["__wrapped__"] = self._graph_choice.variants[0].run  # whose arguments it has
            type(self).forward = forward
        return code

    def _whole_graphs(self) -> list[fx.Graph | None]:
        return (
            [variant.graph for variant in self._graph_choice.variants]
            if "_graph_choice" in vars(self)
            else [None]
        )

    def _settle(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._graph_choice.settle(args, kwargs)

    def _unsettle(self) -> None:
        self._graph_choice.settled = None

    @property
    def graph(self) -> fx.Graph:
        """That of eval mode; for `torch.export`, which runs graphs in place of modules, what runs now."""
        if not torch.compiler.is_exporting():
            return self._graph
        chosen = self._graph_choice.chosen()
        # Where the code of a changed model runs, that is what is followed.
        running = self._graph if chosen is self._graph_choice.own_code else chosen.graph
        if running is None:
            raise ExportError(
                f"torch.export: {type(self).__name__} has code that no graph can hold, and which runs as it "
                "is: summary(model).islands says why. Export a module that it calls"
            )
        check_for_inference(self.binarization.binarizers)
        return running

    @graph.setter
    def graph(self, graph: fx.Graph) -> None:
        fx.GraphModule.graph.fset(self, graph)  # type: ignore[attr-defined]

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in every module; CheckpointError, changing nothing, if it can say what else this is."""
        strict = kwargs.get("strict", args[0] if args else True)

        def check(_module: nn.Module, found: Mapping[str, Any], *_: Any) -> None:
            check_state_dict(self, found, strict=strict)

        # Behind all hooks that there are, which may rename keys, and before anything is changed.
        handle = self.register_load_state_dict_pre_hook(check)  # type: ignore[no-untyped-call]
        try:
            return super().load_state_dict(state_dict, *args, **kwargs)
        finally:
            handle.remove()

    def _replicate_for_data_parallel(self) -> NoReturn:
        raise TransformError(
            f"DataParallel: replicas of {type(self).__name__} would lose what its binarizers learn and what "
            "is switched on; use DistributedDataParallel"
        )

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TransformError(
            f"pickle: the code of a transformed {type(self).__name__} is made in this process and cannot be "
            "saved. Save model.state_dict() and load it into fxbin.transform(...) of the original model"
        )

    def __prepare_scriptable__(self) -> NoReturn:
        raise TransformError(
            f"torch.jit.script: TorchScript cannot compile the code of a transformed {type(self).__name__}. "
            "torch.jit.trace(model.eval(), inputs) makes a program of it, and fxbin.export_onnx a file"
        )

    def __copy__(self) -> NoReturn:
        raise TransformError(
            f"copy.copy: a second {type(self).__name__} cannot run on the modules of the first; use "
            "copy.deepcopy"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # GraphModule would copy what its graph refers to and lose the rest.
        copied = type(self).__new__(type(self))
        type(copied).__name__ = type(self).__name__  # which scopes begin with
        memo[id(self)] = copied
        memo |= copies_made(self)
        for name, value in vars(self).items():
            # A copy of a compiled model is not compiled, as in torch: that code runs on the original.
            if name != "_compiled_call_impl":
                vars(copied)[name] = copy.deepcopy(value, memo)
        copied._put_on = rebound(self._put_on, memo)
        copied.graph.owning_module = copied
        copied.recompile()
        for own, new in zip(self._binarizers(), copied._binarizers(), strict=True):
            own.note_copy(new)
        return copied


def _chosen(self: BinarizedModule, *args: Any, **kwargs: Any) -> Any:
    return self._graph_choice.chosen_for(args, kwargs).run(self, *args, **kwargs)


def _methods_with_convolutions(kind: type[nn.Module]) -> dict[str, Any]:
    """Methods of a model that call `F.conv2d`, with binarizers where its forward is not what calls them."""
    classes = kind.__mro__[: kind.__mro__.index(nn.Module)]
    methods = {name: item for cls in reversed(classes) for name, item in vars(cls).items()}
    return {
        name: method_of_model(item)
        for name, item in methods.items()
        if isinstance(item, FunctionType)
        and name not in ("forward", "__call__")
        and calls_conv2d(item.__code__)
    }


def _check_runs_as_it_is(root: nn.Module, found: ModelTrace) -> None:
    """Raise TransformError if `root` has to run as it is and has more than one code to do so."""
    whole = found.parts.get("")
    may_switch = isinstance(root, fx.GraphModule) and type(root).train is not nn.Module.train
    if may_switch and (whole is None or whole.trained is None):
        raise TransformError(
            f"model: {type(root).__name__} is a graph module that may switch graphs in train(), and no "
            f"graph of fxbin can hold its code: {found.islands[''].reason}. Transform the model that it "
            "was made of"
        )


def _check_spelling(*graphs: fx.Graph) -> None:
    """Raise TransformError if a module or parameter has a name that torch.fx would write as broken code."""
    for node in (node for graph in graphs for node in graph.nodes):
        if node.op in ("call_module", "get_attr"):
            if any(mark in node.target for mark in '"\\\n\r'):
                why = "a quote, a backslash or a line break in its name"
            elif any(map(keyword.iskeyword, node.target.split("."))):
                why = "a keyword of Python in its name"
            else:
                continue
            raise TransformError(
                f"model: {node.target!r} has {why}, which the code of a graph cannot hold; rename it"
            )
