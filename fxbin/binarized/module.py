"""`BinarizedModule`, the class of transformed models."""

import copy
import keyword
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MethodType
from typing import Any, NoReturn, Self, SupportsIndex, cast

import torch
from torch import fx, nn

from fxbin import torch_private
from fxbin.binarized.first_batch import StartsScales, hide_from_compilers
from fxbin.binarized.mode_graphs import (
    GraphChoice,
    ModeGraph,
    Retraces,
    counted_alone,
    graphs_of_calls,
    mode_graphs,
)
from fxbin.binarized.own_code import OwnCode, calls_conv2d, method_of_model
from fxbin.binarized.part_forward import PartForward
from fxbin.binarized.refused_methods import refusals
from fxbin.binarized.reserved_names import check_names
from fxbin.binarized.state import BinarizationState
from fxbin.binarized.state_check import check_state_dict
from fxbin.binarizers import IGNORED_BY_DDP, ignored_by_ddp
from fxbin.binarizers.binarizer import check_for_inference
from fxbin.errors import ExportError, TransformError
from fxbin.original.closures import rebound
from fxbin.original.copy import copy_memo
from fxbin.original.reach import HOOKS
from fxbin.tracing import Island, ModelTrace, Specialisation

# Prefixes that wrappers which pass on attributes give to names of the module inside them.
_TRANSPARENT_WRAPPERS = (f"{torch_private.ORIGINAL_MODULE}.", f"{torch_private.CHECKPOINTED_MODULE}.")


class _OriginalInitBarrier(nn.Module):
    """A base class before the original class, so that `__new__` and `__init__` of that do not run again."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        return object.__new__(cls)

    def __init__(self) -> None:
        nn.Module.__init__(self)


class BinarizedModule(StartsScales, fx.GraphModule, _OriginalInitBarrier):
    """A model that runs as graphs: one for eval mode and, if its code differs there, one for train mode.

    More graphs are traced when they are needed, for modes of single modules. All run on one set of
    parameters, buffers and submodules, which keep their places in the model. The class of the original is a
    base class, so that its methods and attributes remain.

    Modules whose code cannot be traced (islands) run their own code; the parts of the model inside and around
    them have separate graphs. The model's `graph` then shows what eval mode did for the example inputs, but
    does not run.
    """

    binarization: BinarizationState
    """The binarized call sites, which binarizers are enabled, and the config of the stages."""

    specialisations: tuple[Specialisation, ...]
    """Python values that the model's code depends on, and that the graphs keep as constants."""

    islands: tuple[Island, ...]
    """Modules that run their own code, because it cannot be traced, with the reason."""

    own_code: OwnCode
    """The model's own code with binarized convolutions, which runs where graphs do not."""

    _original_class: type[nn.Module]
    """The class of the original model."""

    _instance_forward: Callable[..., Any] | None
    """A `forward` that was assigned to the original model itself, in place of that of its class."""

    _graph_choice: GraphChoice
    """The graphs of the whole model."""

    _retracer: Retraces
    """Traces further graphs when they are needed."""

    _traced_parts: dict[str, PartForward]
    """See `traced_parts`."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """With arguments, make an object of the original class, as ``model[:3]`` of `nn.Sequential` does."""
        if args or kwargs:
            return cls._original_class(*args, **kwargs)  # type: ignore[return-value]
        return super().__new__(cls)

    @classmethod
    def from_trace(
        cls, root: nn.Module, found: ModelTrace, islands: tuple[Island, ...] = ()
    ) -> "BinarizedModule":
        """Turn `root` itself into a module that runs the graphs in `found`, and return it.

        The object stays the same, so that references to it, such as those of hooks that are its methods,
        refer to the result. Raises TransformError if a name in `root` prevents that.
        """
        _check_spelling(found.eval_graph, *found.graphs)
        _check_runs_as_it_is(root, found)
        hide_from_compilers()
        whole = found.parts.get("")
        module = cls._of_new_class(root, found, keeps_hooks=whole is None)
        # As the setter, but that would generate code, which passes are about to outdate.
        setattr(module, torch_private.GRAPH, found.eval_graph)
        found.eval_graph.owning_module = module
        module.own_code = OwnCode()
        graphs = [ModeGraph({}, None)] if whole is None else graphs_of_calls((whole, *found.other_calls))
        module._graph_choice = GraphChoice(module, "", graphs)
        module._traced_parts = {
            path: PartForward(module, path, mode_graphs(path, part))
            for path, part in found.parts.items()
            if path
        }
        module.specialisations, module.islands = found.specialisations, islands
        return module

    @classmethod
    def _of_new_class(cls, root: nn.Module, found: ModelTrace, *, keeps_hooks: bool) -> "BinarizedModule":
        """Give `root` a new class, derived from this one and its own, and an empty graph."""
        original = type(root)
        content = {
            "__module__": original.__module__,
            "_original_class": original,
            **_methods_with_convolutions(original),
            **refusals(original),
        }
        binarized_class: Any = type(original.__name__, (cls, original), content)
        # An empty object shows the attributes that GraphModule sets. GraphModule's __init__ is called
        # directly, because classes derived from it may take other arguments.
        empty = binarized_class.__new__(binarized_class)
        fx.GraphModule.__init__(empty, nn.Module(), fx.Graph(), class_name=original.__name__)
        if isinstance(vars(root).get("meta"), dict):
            del empty.meta  # the model's own dict serves as well: torch only looks up what it has written
        check_names(root, cls, (*vars(empty), *BinarizedModule.__annotations__))
        # Values without a place in the model are not registered, as the original's state_dict lacks them.
        vars(root).update(found.extra_attributes)
        # Hooks that are part of the graph must not run around it as well.
        kept = {*vars(nn.Module())} - (set() if keeps_hooks else {*HOOKS})
        vars(root).update({name: value for name, value in vars(empty).items() if name not in kept})
        # In place, it would override the forward that runs the graphs, which contain it.
        vars(root)["_instance_forward"] = vars(root).pop("forward", None)
        object.__setattr__(root, "__class__", type(empty))
        return cast("BinarizedModule", root)

    @property
    def traced_graphs(self) -> tuple[fx.Graph, ...]:
        """The graph of eval mode, then the graphs of other modes that differ from it."""
        return (self.graph,) if self.is_shown_only else tuple(self._graph_choice.graphs)

    @property
    def eval_graphs(self) -> tuple[fx.Graph, ...]:
        """`graph`, then the graphs of eval mode for the other example calls."""
        return (self.graph, *(graph for graph in self._graph_choice.eval_graphs[1:] if graph is not None))

    def graph_of_mode(self, *, training: bool) -> fx.Graph | None:
        """The graph that runs in train or in eval mode of all modules; None if the model's own code runs."""
        return self._graph_choice.running(training=training)

    def graph_for(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> fx.Graph | None:
        """The graph that runs for these arguments at present; None if the model's own code runs."""
        return self._graph_choice.chosen_for(args, kwargs).graph

    def computed_graph(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> fx.Graph | None:
        """What the model computes for these arguments now, traced anew if need be; None if no graph can."""
        return self._graph_choice.graph_for_now(args, kwargs).graph

    def show_running(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Let `graph` be the graph for these arguments and the current modes, and always run it from now on.

        Raises ExportError if there can be no such graph.
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
        """The submodules that run as separate graphs, around islands, by qualified name."""
        return self._traced_parts

    @property
    def is_shown_only(self) -> bool:
        """Whether `graph` only shows what one run did, while the model's own code runs."""
        return self.graph_of_mode(training=False) is None

    @property
    def all_graphs(self) -> tuple[fx.Graph, ...]:
        """`graph` and all other graphs that run, also those of parts, without duplicates."""
        graphs = [self.graph, *self._graph_choice.graphs]
        for part in self._traced_parts.values():
            graphs += part.graphs
        return tuple(dict.fromkeys(graphs))

    def trace_modes(self, path: str, known: list[ModeGraph], call: int) -> ModeGraph:
        """Trace the module at `path` for the current modes and dtypes, with example call number `call`.

        The result has no graph, but a reason, if the code cannot be traced.
        """
        return self._retracer.trace(self, path, known, call)

    def own_forward(self) -> Callable[..., Any]:
        """The forward of the original: that of its class, or one that was assigned to the model itself."""
        of_class = cast("Callable[..., Any]", MethodType(self._original_class.forward, self))
        return self._instance_forward or of_class

    def own_run(self) -> Callable[..., Any]:
        """The call of the original model, with its hooks, as a function that takes the model first.

        Hooks that the model has got since the transform are not included: they run around it.
        """
        instance_forward, call = self._instance_forward, self._original_class.__call__
        if issubclass(self._original_class, fx.GraphModule):
            call = type(self).__call__  # that of the original only adds lines of its graph to tracebacks
        hooks = {} if self.is_shown_only else self._retracer.hooks
        if type(self).__call__ is call and not any(hooks.values()):
            kind = self._original_class

            def forward(model: BinarizedModule, *args: Any, **kwargs: Any) -> Any:
                # Looked up at each call: the class may be given another one.
                if instance_forward:
                    return instance_forward(*args, **kwargs)
                return kind.forward(model, *args, **kwargs)

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
        """Set the mode as the class of the original does, without the graphs that some classes switch to."""
        graph, self._is_rewriting = self._graph, True  # no code is generated for the other graph
        try:
            super().train(mode)
        finally:
            self._graph, self._is_rewriting = graph, False
        return self

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """Names that DistributedDataParallel, which reads this attribute, leaves to the binarizers."""
        names = [*vars(self).get(IGNORED_BY_DDP, ()), *ignored_by_ddp(self)]
        # Wrappers that pass on attributes, such as that of torch.compile, prefix the names.
        return [prefix + name for prefix in ("", *_TRANSPARENT_WRAPPERS) for name in names]

    @_ddp_params_and_buffers_to_ignore.setter
    def _ddp_params_and_buffers_to_ignore(self, names: Iterable[str]) -> None:
        vars(self)[IGNORED_BY_DDP] = list(names)

    def recompile(self) -> Any:
        """Generate the code of all graphs; `training` chooses between them at each call."""
        if vars(self).get("_is_rewriting"):
            return None  # the graph that is set now will be replaced again
        code = super().recompile()
        # The handler that GraphModule puts around each call hides errors under torch.compile(fullgraph=True),
        # as the compiler fails on the handler. Tracebacks show the line of the graph without it as well.
        del type(self).__call__
        is_made = issubclass(self._original_class, fx.GraphModule)
        if type(self).__call__ is not nn.Module.__call__ and (is_made or None not in self._whole_graphs()):
            # A graph contains what the original's __call__ does; that of a graph module does nothing more.
            type(self).__call__ = nn.Module.__call__  # type: ignore[method-assign]
        for part in vars(self).get("_traced_parts", {}).values():
            part.compile()
        if "_graph_choice" in vars(self):
            self._graph_choice.compile()
            forward = counted_alone(_chosen)
            vars(forward)["__wrapped__"] = self._graph_choice.variants[0].run  # for inspect.signature
            type(self).forward = forward
        return code

    def _whole_graphs(self) -> list[fx.Graph | None]:
        """The graphs of the whole model; None stands for its own code."""
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
        """The graph of eval mode; for `torch.export`, which runs graphs of modules, the one that runs now."""
        if not torch.compiler.is_exporting():
            return self._graph
        chosen = self._graph_choice.chosen()
        # If a changed model runs its own code, torch.export traces that code.
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
        """Load as every module does; raise CheckpointError first if the state belongs to another model."""
        strict = kwargs.get("strict", args[0] if args else True)

        def check(_module: nn.Module, found: Mapping[str, Any], *_: Any) -> None:
            check_state_dict(self, found, strict=strict)

        # After all other hooks, which may rename keys, but before anything changes.
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
        # GraphModule's own method copies what the graph refers to, and loses the rest.
        copied = type(self).__new__(type(self))
        type(copied).__name__ = type(self).__name__  # scopes begin with it
        memo[id(self)] = copied
        memo |= copy_memo(self)
        for name, value in vars(self).items():
            # A copy of a compiled model is not compiled, as in torch: the compiled code uses the original.
            if name != torch_private.COMPILED_CALL:
                vars(copied)[name] = copy.deepcopy(value, memo)
        copied._instance_forward = rebound(self._instance_forward, memo)
        copied.graph.owning_module = copied
        copied.recompile()
        for own, new in zip(self._binarizers(), copied._binarizers(), strict=True):
            own.note_copy(new)
        return copied


def _chosen(self: BinarizedModule, *args: Any, **kwargs: Any) -> Any:
    """The forward of a transformed model: runs the graph chosen for these arguments."""
    return self._graph_choice.chosen_for(args, kwargs).run(self, *args, **kwargs)


def _methods_with_convolutions(kind: type[nn.Module]) -> dict[str, Any]:
    """Methods of the class `kind` that call `F.conv2d`, wrapped so that direct calls use binarizers."""
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
    """Raise TransformError if `root` is a graph module that may switch graphs and must run its own code."""
    whole = found.parts.get("")
    may_switch = isinstance(root, fx.GraphModule) and type(root).train is not nn.Module.train
    if may_switch and (whole is None or whole.train_trace is None):
        raise TransformError(
            f"model: {type(root).__name__} is a graph module that may switch graphs in train(), and no "
            f"graph of fxbin can hold its code: {found.islands[''].reason}. Transform the model that it "
            "was made of"
        )


def _check_spelling(*graphs: fx.Graph) -> None:
    """Raise TransformError if torch.fx cannot write the name of a module or parameter as valid code."""
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
