"""Graphs that are each valid for some modes and dtypes of a model's modules, and the choice at each call."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from types import FunctionType
from typing import Any, Protocol

import torch
from torch import fx, nn

from fxbin import torch_private
from fxbin.binarized.asked import Asked, arguments_asked
from fxbin.binarized.call_form import Argument, arguments_of
from fxbin.binarized.fused_graph import compiled
from fxbin.binarized.graphs_only import check_runs_as_graphs, refusal, rewrites_in
from fxbin.binarized.premises import Premises
from fxbin.binarized.replay import is_proxied
from fxbin.errors import TransformError
from fxbin.graph.attribute import attribute
from fxbin.graph.record import Specialisation
from fxbin.onlookers import is_exported
from fxbin.tracing import Part, Question, Trace

Run = Callable[[fx.Graph, tuple[Any, ...], dict[str, Any]], Any]
"""``run(graph, args, kwargs)``: runs a graph in place of its generated code."""


@dataclass
class ModeGraph:
    """One graph of a module, and the conditions under which it is valid."""

    modes: dict[str, bool]
    """Mode of each module whose mode the code reads, by qualified name: True for train mode."""

    graph: fx.Graph | None
    """The graph, with paths of the whole model; None if the module runs its own code in these modes."""

    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    """Dtypes of parameters and buffers by qualified name, if the code reads the dtype of a tensor."""

    premises: Premises | None = None
    """Further conditions on the modules; None if there is no graph."""

    reason: str = ""
    """Why there is no graph."""

    call: int = 0
    """Index of the example call with which it was traced."""

    questions: tuple[Question, ...] = ()
    """What the code has asked of torch and of tensors, with the answers."""

    def __post_init__(self) -> None:
        self._asked: Asked | None = None
        self._asked_of: tuple[Argument, ...] = ()
        self._flags: tuple[tuple[nn.Module, bool], ...] = ()
        self._tensors: tuple[tuple[nn.Module, str, torch.dtype], ...] = ()
        self._arguments: tuple[Argument, ...] = ()
        self._made: int | None = None
        """Hash of the graph when it was compiled first, to detect later edits; None before."""
        self.is_edited = False
        """Whether a user has edited the graph, by ``model.graph`` and ``model.recompile()``."""
        self.run: Callable[..., Any] = _not_compiled
        """Runs the graph, with the model as first argument."""

    def compile(
        self, model: nn.Module, path: str, functions: Mapping[fx.Graph | None, Callable[..., Any]]
    ) -> None:
        """Generate the code of the graph of the module at `path`, unless `functions` has it already."""
        self._flags = tuple((attribute(model, path) if path else model, m) for path, m in self.modes.items())
        if self.dtypes:
            modules = dict(model.named_modules())
            owned = ((path.rpartition("."), dtype) for path, dtype in self.dtypes.items())
            self._tensors = tuple(
                (modules[owner], name, dtype) for (owner, _, name), dtype in owned if owner in modules
            )
        run = functions.get(self.graph)
        if self.graph is not None:
            assert self.premises is not None
            fingerprint = hash(tuple(_listing(self.graph)))
            self._made = self._made or fingerprint
            self.is_edited = fingerprint != self._made
            self._arguments = arguments_of(self.graph)
            self._asked_of = arguments_asked(self.questions, self.graph)
            self._asked = Asked(self.questions, model) if self.questions else None
            self.premises.bind(model, self.graph, path)
            run = run or compiled(self.graph, model, path)
        # Only once, as another thread may run it.
        self.run = run or _not_compiled

    def fits(self) -> bool:
        """Whether it does what the module's own code would do now, attributes included."""
        return self.computes_the_same() and (
            self.premises is None
            or not self.premises.final_values
            or self.premises.final_values_hold()
            or is_exported()  # what is exported only computes
        )

    def computes_the_same(self) -> bool:
        """Whether it returns what the module's own code would return now, apart from attributes."""
        if not self.is_for_now():
            return False
        if self._asked is not None and not self._asked.have_same_answers():
            return False
        if self.premises is None:
            return True
        is_followed = torch.compiler.is_dynamo_compiling()
        return self.premises.hold_for_compiler() if is_followed else self.premises.hold()

    def takes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether the graph does what the module's code would do for these arguments."""
        for argument in self._arguments:  # noqa: SIM110
            if not argument.fits(args, kwargs):
                return False
        return True

    def is_answered_by(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether the tensors in these arguments answer what the code asks of them as in the trace."""
        for argument in self._asked_of:  # noqa: SIM110
            if not argument.fits(args, kwargs):
                return False
        return True

    def is_for_now(self) -> bool:
        """Whether all modules are in `modes` now, and all parameters and buffers have `dtypes`."""
        # A loop without generators, which would take as long as all the rest.
        for module, name, dtype in self._tensors:
            if getattr(getattr(module, name, None), "dtype", None) is not dtype:
                return False
        return self.has_modes()

    def has_modes(self) -> bool:
        """Whether all modules are in `modes` now."""
        for module, training in self._flags:  # noqa: SIM110
            if module.training is not training:
                return False
        return True


class Retraces(Protocol):
    """Traces a model again, as `fxbin.compiler.retrace.Retracer` does."""

    hooks: dict[str, Any]
    """The hooks that the model had before the transform, which its graphs contain."""

    def trace(self, model: Any, path: str, known: list[ModeGraph], call: int) -> ModeGraph:
        """Trace the module at `path` in the current state of its modules, with example call number `call`."""
        ...


one_trace_at_a_time = threading.RLock()
"""Held while a model is traced anew, which changes its modules, and while another thread may need that."""


class GraphChoice:
    """The graphs of a model or of a part of it: for eval mode, for train mode if that differs, and others.

    Others are needed if the mode of a single submodule is switched whose code reads it
    (``F.dropout(x, p, self.training)``), and if a model is cast whose code reads a dtype
    (``if x.dtype == torch.float16``). They are traced when they are first needed.

    The module's own code runs if no graph can be traced, or if the modules have got hooks, other attributes
    or other submodules since the graph was traced, so that it is no longer valid. It also
    runs where it would change the values of attributes, which graphs do not do.
    """

    def __init__(self, model: nn.Module, path: str, variants: list[ModeGraph]) -> None:
        self._model, self._path, self.variants = model, path, variants
        self.own_code = ModeGraph({}, None)
        """The choice to run the module's own code."""
        self.pinned: ModeGraph | None = None
        """The choice made before a compiled call, in which no other choice may be made."""
        self._hooks: list[dict[int, Any]] = []
        self._hooked: dict[tuple[int, tuple[int, ...]], ModeGraph] = {}
        self._replaced: Run | None = None
        self.rewrites: tuple[str, ...] = ()
        """Names of the rewrites that have changed the graphs."""

    @property
    def graphs(self) -> list[fx.Graph]:
        """All graphs, without duplicates."""
        return list(dict.fromkeys(v.graph for v in self.variants if v.graph is not None))

    @property
    def left_out(self) -> list[Specialisation]:
        """Values that the code reads and that are not compared before a call, as they are too large."""
        return [
            found
            for variant in self.variants
            if variant.premises is not None
            for found in variant.premises.held.left_out
        ]

    @property
    def eval_graphs(self) -> list[fx.Graph | None]:
        """For each example call, the graph that runs if all modules are in eval mode; None for own code."""
        first = {variant.call: variant.graph for variant in reversed(self.variants)}
        return [first[call] for call in sorted(first)]

    def running(self, *, training: bool) -> fx.Graph | None:
        """The graph that runs if all modules are in eval mode, or in train mode; None for own code.

        It is that of the first example call, in the dtypes the model had in the transform.
        """
        of_call = self._of_first_call()
        return of_call[1 if training and len(of_call) > 1 else 0].graph

    def compile(self, new: Sequence[ModeGraph] = ()) -> None:
        """Generate the code of all graphs again, after they have changed, and of `new` ones."""
        self.rewrites = rewrites_in(self.graphs)
        own = refusal(self._name, self.rewrites) if self.rewrites else self.own_run()
        made: dict[fx.Graph | None, Callable[..., Any]] = {None: own}
        for variant in (self.own_code, *self.variants, *new):
            variant.compile(self._model, self._path, made)
            made[variant.graph] = variant.run
        self._hooked.clear()
        self._hooks = [*chain.from_iterable(map(torch_private.called_hooks, self._model.modules()))]

    def check_runs_as_graphs(self) -> None:
        """Raise TransformError if there are rewrites, and own code would have to run at times."""
        if self.rewrites:
            found = (each.premises.attributes_to_set for each in self.variants if each.premises is not None)
            lacks_graph = any(each.graph is None for each in self.variants)
            attributes = chain.from_iterable(found)
            check_runs_as_graphs(self._name, self.rewrites, attributes, lacks_graph=lacks_graph)

    @property
    def _name(self) -> str:
        return f"{type(self._model).__name__}{f', {self._path}' if self._path else ''}"

    def pin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Choose the graph of one compiled call, and keep it in `pinned`.

        Compilers do not guard on hooks, so they get another function for each set of hooks, and compile that.
        """
        self.pinned = chosen = self.chosen_for(args, kwargs)
        if any(self._hooks):
            hooks = tuple(id(hook) for of_kind in self._hooks for hook in of_kind.values())
            if (id(chosen), hooks) not in self._hooked:
                hooked = self._hooked[id(chosen), hooks] = replace(chosen)
                hooked.run = counted_alone(chosen.run)
            self.pinned = self._hooked[id(chosen), hooks]

    def chosen_for(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ModeGraph:
        """The graph that runs for these arguments, or `own_code` if they match no example call."""
        if self.pinned is not None:
            is_valid = self.pinned.takes(args, kwargs) and self.pinned.is_answered_by(args, kwargs)
            return self.pinned if is_valid else self.own_code
        for variant in self.variants:
            if variant.takes(args, kwargs) and variant.fits() and variant.is_answered_by(args, kwargs):
                return variant
        known = self._known(args, kwargs)
        if is_proxied(*args, *kwargs.values()):  # another tracer of torch.fx must get a graph
            for variant in known:
                if variant.computes_the_same():
                    return variant
        if torch.compiler.is_compiling():
            return self._other(known)
        with one_trace_at_a_time:
            other = self._other(self._known(args, kwargs))
        return other if other.is_answered_by(args, kwargs) else self.own_code

    def chosen(self) -> ModeGraph:
        """The graph that runs in the current state of the modules, for the first example call."""
        if self.pinned is not None:
            return self.pinned
        of_call = self._of_first_call()
        for variant in of_call:
            if variant.fits():
                return variant
        return self._other(of_call)

    def _of_first_call(self) -> list[ModeGraph]:
        return [variant for variant in self.variants if not variant.call]

    def is_known(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether one of the example calls has such arguments."""
        return bool(self._known(args, kwargs))

    def _known(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[ModeGraph]:
        """The graphs for these arguments, valid now or not."""
        return [variant for variant in self.variants if variant.takes(args, kwargs)]

    def _other(self, known: list[ModeGraph]) -> ModeGraph:
        """A new graph, or `own_code`, if none of `known`, the graphs for the arguments, is valid."""
        model: Any = self._model
        premises = [variant.premises for variant in known if variant.premises is not None]
        # No trace if there are hooks, which `structure_holds` detects: they would run during the trace.
        if (
            known
            and not any(variant.is_for_now() for variant in known)
            and all(premise.structure_holds() for premise in premises)
        ):
            if torch.compiler.is_compiling():
                raise TransformError(
                    f"{type(model).__name__} is compiled in modes or dtypes that it has not run in: after "
                    "single modules are switched by train() or eval() or cast, call it once without "
                    "torch.compile"
                )
            if self._new(known[0]).fits():
                return self.variants[-1]
        model.own_code.check(model)
        if any(variant.is_edited and variant.is_for_now() for variant in known):
            raise TransformError(
                f"{type(model).__name__}: its graph was edited after the transform, and its modules have "
                "changed since (a hook, an attribute, a submodule). The model's own code, which runs then, "
                "does not contain the edit: undo the change, or write the edit into the model's code and "
                "transform that"
            )
        return self.own_code

    def graph_for_now(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_new: bool = False
    ) -> ModeGraph:
        """As `chosen_for`, but a newly traced graph, if possible, in place of the module's own code.

        With `is_new`, it is traced in any case.
        """
        known = None if is_new else self._existing(args, kwargs)
        return known or self._new((self._known(args, kwargs) or self.variants)[0])

    def _existing(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ModeGraph | None:
        """As `chosen_for`, but a graph that computes the same in place of own code that sets attributes."""
        variant = self.chosen_for(args, kwargs)
        if variant is not self.own_code:
            return variant
        return next(
            (
                known
                for known in self._known(args, kwargs)
                if known.computes_the_same() and known.is_answered_by(args, kwargs)
            ),
            None,
        )

    def _new(self, like: ModeGraph) -> ModeGraph:
        """Trace a graph in the current state of the modules, with the example call of `like`, and add it."""
        model: Any = self._model
        variant: ModeGraph = model.trace_modes(self._path, self.variants, like.call)
        variant.call = like.call
        self.compile([variant])
        self.variants.append(variant)  # last, as other threads choose from them
        return variant

    def own_run(self) -> Callable[..., Any]:
        """The module's own code, which the graphs replace, as a function with the model as first argument."""
        model: Any = self._model
        run: Callable[..., Any] = model.own_run()
        return run

    @contextmanager
    def run_by(self, run: Run) -> Iterator[None]:
        """Let ``run(graph, args, kwargs)`` run the graphs in place of their generated code."""
        self._replaced = run
        try:
            yield
        finally:
            self._replaced = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph chosen for these arguments and the current modes."""
        variant = self.chosen_for(args, kwargs)
        if self._replaced is not None and variant.graph is not None:
            return self._replaced(variant.graph, args, kwargs)
        return variant.run(self._model, *args, **kwargs)


def graphs_of_calls(calls: Sequence[Part]) -> list[ModeGraph]:
    """The graphs of a model for all of its example calls."""
    variants = [mode_graphs("", part) for part in calls]
    return [replace(variant, call=call) for call, of_call in enumerate(variants) for variant in of_call]


def mode_graphs(path: str, part: Part) -> list[ModeGraph]:
    """The graphs of `part` in eval and train mode; only one if they are equal and no code reads the mode."""
    for_eval = _mode_graph(path, part.eval_trace, training=False)
    if part.train_trace is None:
        return [for_eval, ModeGraph({path: True}, None)]
    for_train = _mode_graph(path, part.train_trace, training=True)
    assert for_eval.graph is not None
    assert for_train.graph is not None
    if _listing(for_eval.graph) != _listing(for_train.graph):
        return [for_eval, for_train]
    if (
        not part.eval_trace.modes
        and not part.train_trace.modes
        and part.eval_trace.final_values == part.train_trace.final_values
        and for_eval.questions == for_train.questions
    ):
        return [replace(for_eval, modes={})]
    return [for_eval, replace(for_train, graph=for_eval.graph)]


def traced_graph(modes: dict[str, bool], found: Trace) -> ModeGraph:
    """The graph in `found`, which was traced in `modes`, with the conditions under which it is valid."""
    premises = Premises(found.reads, found.followed, found.iterated, found.final_values)
    return ModeGraph(modes, found.graph, found.dtypes, premises, questions=found.questions)


def counted_alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of `function` with a separate code object, for which torch.compile counts separately.

    torch.compile gives up on a code object that it has compiled eight times, and all models and parts of
    models would otherwise share one.
    """
    assert isinstance(function, FunctionType)
    code = function.__code__.replace()
    return FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)


def _mode_graph(path: str, found: Trace, *, training: bool) -> ModeGraph:
    # The mode of the module itself comes first, because it almost always decides.
    return traced_graph({path: training, **found.modes}, found)


def _not_compiled(*_args: Any, **_kwargs: Any) -> Any:
    raise AssertionError("a graph was run before it was compiled")


def _listing(graph: fx.Graph) -> list[tuple[Any, ...]]:
    """The nodes of a graph as plain data, to compare two graphs."""
    return [(node.op, node.target, repr(node.args), repr(node.kwargs)) for node in graph.nodes]
