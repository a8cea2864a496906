"""`BinarizedModule`, the class of transformed models."""

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from itertools import chain, product
from types import MethodType
from typing import Any, Self, cast

from torch import fx, nn

from fxbin import torch_private
from fxbin.binarized.direct_calls import DirectCalls
from fxbin.binarized.exported_call import graph_of_call
from fxbin.binarized.first_batch import InitializesScales, hide_from_compilers
from fxbin.binarized.mode_graphs import (
    GraphChoice,
    ModeGraph,
    Retraces,
    counted_alone,
    graphs_of_calls,
    mode_graphs,
)
from fxbin.binarized.original_class import (
    OriginalInitBarrier,
    derived_classes,
    empty,
    give_class,
    methods_kept,
    original_run,
)
from fxbin.binarized.own_code import OwnCode
from fxbin.binarized.part_forward import PartForward
from fxbin.binarized.refused_copies import RefusesCopies
from fxbin.binarized.refused_models import check_keeps_graph, check_spelling
from fxbin.binarized.state import BinarizationState
from fxbin.binarized.state_check import check_state_dict
from fxbin.binarizers import IGNORED_BY_DDP, ignored_by_ddp
from fxbin.binarizers.binarizer import check_for_inference
from fxbin.errors import ExportError, TransformError
from fxbin.onlookers import is_exported
from fxbin.original.closures import rebound
from fxbin.original.copy import copy_memo
from fxbin.original.reach import FORWARD_HOOKS
from fxbin.tracing import Island, ModelTrace, Specialisation

# Prefixes that wrappers which pass on attributes give to names of the module inside them.
_TRANSPARENT_WRAPPERS = (f"{torch_private.ORIGINAL_MODULE}.", f"{torch_private.CHECKPOINTED_MODULE}.")


class BinarizedModule(InitializesScales, RefusesCopies, fx.GraphModule, OriginalInitBarrier):
    """What `fxbin.transform` returns: a model that runs as graphs, whose convolutions can be binarized.

    There is one graph for eval mode and, if the code does something else there, one for train mode. More are
    traced when they are needed, such as when single modules are switched to another mode. All run on one set
    of parameters, buffers and submodules, which keep their places in the model. The class of the original is
    a base class, so that its methods and attributes remain.

    Modules whose code cannot be traced (islands) run their own code; the parts of the model inside and around
    them have separate graphs. The model's `graph` then shows what eval mode did for the example inputs, but
    does not run.
    """

    binarization: BinarizationState
    """The binarized call sites, which binarizers are enabled, and the config of the stages."""

    specialisations: tuple[Specialisation, ...]
    """Python values that the model's code depends on, and that the graphs keep as constants.

    They include what modules hold that is too large to be compared before each call.
    """

    islands: tuple[Island, ...]
    """Modules that run their own code, because it cannot be traced, with the reason."""

    own_code: OwnCode
    """The model's own code with binarized convolutions, which runs where graphs do not."""

    direct_calls: list[DirectCalls]
    """The modules with methods that call `F.conv2d`, which use binarizers if they are called directly."""

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
        """Make an object of the original class, as ``type(self)(...)`` in the code of that class means.

        ``model[:3]`` of `nn.Sequential` is such a call. An empty object of this class is made by `empty`.
        """
        return cls._original_class(*args, **kwargs)  # type: ignore[return-value]

    @classmethod
    def from_trace(
        cls, root: nn.Module, found: ModelTrace, islands: tuple[Island, ...] = ()
    ) -> "BinarizedModule":
        """Turn `root` itself into a module that runs the graphs in `found`, and return it.

        The object stays the same, so that references to it, such as those of hooks that are its methods,
        refer to the result. Raises TransformError if a name in `root` prevents that.
        """
        check_spelling(found.eval_graph, *found.graphs)
        check_keeps_graph(root, found)
        hide_from_compilers()
        whole = found.parts.get("")
        module = give_class(root, cls, BinarizedModule.__annotations__, keeps_hooks=whole is None)
        # Values without a place in the model are not registered, as the original's state_dict lacks them.
        vars(module).update(found.extra_attributes)
        # As the setter, but that would generate code, which passes are about to outdate.
        setattr(module, torch_private.GRAPH, found.eval_graph)
        found.eval_graph.owning_module = module
        module.own_code, module.direct_calls = OwnCode(), []
        graphs = [ModeGraph({}, None)] if whole is None else graphs_of_calls((whole, *found.other_calls))
        module._graph_choice = GraphChoice(module, "", graphs)
        module._traced_parts = {
            path: PartForward(module, path, mode_graphs(path, part))
            for path, part in found.parts.items()
            if path
        }
        module.specialisations, module.islands = found.specialisations, islands
        return module

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
        """A graph of what the model computes for these arguments now, maybe a new one; None if impossible.

        Raises TransformError if no example call has such arguments.
        """
        if not self._graph_choice.is_known(args, kwargs):
            raise TransformError(
                f"{type(self).__name__}: it was transformed for calls with other arguments, and has no graph "
                "of this one. Pass the call to transform, too: other_calls=[(args, kwargs)]"
            )
        return self._graph_choice.graph_for_now(args, kwargs).graph

    def show_running(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, with_hooks: bool = False
    ) -> bool:
        """Let `graph` be the graph for these arguments and the current modes, and always run it from now on.

        With `with_hooks`, it contains the hooks that the model itself has got since the transform, which no
        longer run around it. Returns whether it was traced for this. Raises ExportError if there can be no
        such graph.
        """
        if "forward" in vars(self):
            raise ExportError(
                "forward: it was assigned to the model after the transform, and no graph contains it. Remove "
                "it (del model.forward), or assign it to the original model and transform that"
            )
        for kind, name in product(derived_classes(self), ("forward", "__call__")):
            if name in vars(kind):
                raise ExportError(
                    f"{name}: {kind.__name__} overrides it, a class that the model was given after the "
                    "transform, and no graph contains that. Write it into the class of the original model, "
                    "and transform that"
                )
        if with_hooks and torch_private.has_any_global_hook():
            raise ExportError(
                "model: there are hooks for all modules (register_module_forward_hook and the like), which "
                "a graph runs for some modules only. Remove them for the export, or set them on the modules"
            )
        taken_in = with_hooks and self._take_in_hooks()
        before = len(self._graph_choice.variants)
        variant = self._graph_choice.graph_for_now(args, kwargs, is_new=taken_in)
        if variant.graph is None:
            hint = ". If a hook on the model only looks at its values, remove it" if taken_in else ""
            raise ExportError(
                f"model: no graph can hold what {type(self).__name__} does now: {variant.reason}{hint}"
            )
        self._graph_choice.pinned = variant
        if variant.graph is not self.graph:
            self.graph = variant.graph
        return len(self._graph_choice.variants) > before

    def _take_in_hooks(self) -> bool:
        """Let graphs that are traced from now on contain the model's own forward hooks, if it has any.

        They run around the hooks that it had before the transform. Returns whether there are any.
        """
        own = {name: vars(self)[name] for name in FORWARD_HOOKS}
        if not any(own.values()):
            return False
        for name, before in self._retracer.hooks.items():
            if name in own:
                around = (own[name], before) if "_pre_" in name else (before, own[name])
                self._retracer.hooks[name] = type(before)(chain.from_iterable(h.items() for h in around))
                vars(self)[name] = type(before)()
        return True

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

    def check_runs_as_graphs(self) -> None:
        """Raise TransformError if rewrites have changed graphs of code that would have to run at times."""
        for choice in (self._graph_choice, *self._traced_parts.values()):
            choice.check_runs_as_graphs()

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
        hooks = {} if self.is_shown_only else self._retracer.hooks
        return self.own_code.around(original_run(self, self._original_class, self._instance_forward, hooks))

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
        is_derived = bool(derived_classes(self))  # and then has the methods of the class that was made
        with methods_kept(type(self)) if is_derived else nullcontext():
            code = super().recompile()
            self._simplify_call()
        for part in vars(self).get("_traced_parts", {}).values():
            part.compile()
        if "_graph_choice" in vars(self):
            self._graph_choice.compile()
            forward = counted_alone(_chosen)
            vars(forward)["__wrapped__"] = self._graph_choice.variants[0].run  # for inspect.signature
            if not is_derived:
                type(self).forward = forward
            choices = (self._graph_choice, *self._traced_parts.values())
            left_out = (found for choice in choices for found in choice.left_out)
            self.specialisations = tuple(dict.fromkeys((*self.specialisations, *left_out)))
        return code

    def _simplify_call(self) -> None:
        """Call this model as every module is called."""
        # The handler that GraphModule puts around each call hides errors under torch.compile(fullgraph=True),
        # as the compiler fails on the handler. Tracebacks show the line of the graph without it as well.
        del type(self).__call__
        is_made = issubclass(self._original_class, fx.GraphModule)
        if type(self).__call__ is not nn.Module.__call__ and (is_made or None not in self._whole_graphs()):
            # A graph contains what the original's __call__ does; that of a graph module does nothing more.
            type(self).__call__ = nn.Module.__call__  # type: ignore[method-assign]

    def _whole_graphs(self) -> list[fx.Graph | None]:
        """The graphs of the whole model; None stands for its own code."""
        return (
            [variant.graph for variant in self._graph_choice.variants]
            if "_graph_choice" in vars(self)
            else [None]
        )

    def _pin_graph(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._graph_choice.pin(args, kwargs)

    def _unpin_graph(self) -> None:
        self._graph_choice.pinned = None

    @property
    def graph(self) -> fx.Graph:
        """The graph of eval mode; for `torch.export`, which runs graphs of modules, a call of the model."""
        if not is_exported() or self._graph_choice.pinned is not None:
            return self._graph
        chosen = self._graph_choice.chosen()
        if chosen.graph is None and chosen is not self._graph_choice.own_code:
            raise ExportError(
                f"torch.export: {type(self).__name__} has code that no graph can hold, so it runs as "
                "plain Python: summary(model).islands says why. Export a module that it calls"
            )
        check_for_inference(self.binarization.binarizers)
        return graph_of_call(self)

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

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # GraphModule's own method copies what the graph refers to, and loses the rest.
        if derived_classes(self):
            copied: Self = object.__new__(type(self))
        else:
            copied = empty(type(self))
            type(copied).__name__ = type(self).__name__  # scopes begin with it
        memo[id(self)] = copied
        memo |= copy_memo(self)
        for name, value in vars(self).items():
            # A copy of a compiled model is not compiled, as in torch: the compiled code uses the original.
            if name != torch_private.COMPILED_CALL:
                vars(copied)[name] = copy.deepcopy(value, memo)
        copied._rebind_forwards(memo)
        copied.graph.owning_module = copied
        copied.recompile()
        for own, new in zip(self._binarizers(), copied._binarizers(), strict=True):
            own.note_copy(new)
        return copied

    def _rebind_forwards(self, copies: dict[int, Any]) -> None:
        """Let each `forward` that was assigned to a module refer to `copies`, by id of what was copied."""
        self._instance_forward = rebound(self._instance_forward, copies)
        for module in self.modules():
            if "forward" in vars(module):
                vars(module)["forward"] = rebound(vars(module)["forward"], copies)
        for caller in self.own_code.callers.values():
            caller.rebind(copies)
        for part in self._traced_parts.values():
            part.rebind(copies)
        for choice in (self._graph_choice, *self._traced_parts.values()):
            for variant in choice.variants:
                if variant.premises is not None:
                    variant.premises.rebind(copies)


def _chosen(self: BinarizedModule, *args: Any, **kwargs: Any) -> Any:
    """The forward of a transformed model: runs the graph chosen for these arguments."""
    return self._graph_choice.chosen_for(args, kwargs).run(self, *args, **kwargs)
