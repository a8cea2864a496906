"""Graphs that are each good for some modes of modules, or for some dtypes, and the choice at each call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any

import torch
from torch import fx, nn

from fxbin.call_form import Argument, arguments_of
from fxbin.call_site import attribute
from fxbin.errors import TransformError
from fxbin.fused_graph import compiled
from fxbin.premises import Premises
from fxbin.replay import is_proxied
from fxbin.tracing import Part, Trace
from fxbin.tracing.reach import CALLED_HOOKS

Run = Callable[[fx.Graph, tuple[Any, ...], dict[str, Any]], Any]


@dataclass
class ModeGraph:
    """One graph of a module, and the modes that its code was followed in."""

    modes: dict[str, bool]
    """Qualified names of the modules whose mode the code looks at: True for train mode."""

    graph: fx.Graph | None
    """In the paths of the whole model; None for a model that runs as it is in these modes."""

    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    """Those of parameters and buffers, by qualified name, if the code asks for the dtype of a tensor."""

    premises: Premises | None = None
    """What else must be as it was; None where there is no graph, and nothing that could be wrong."""

    reason: str = ""
    """Why there is no graph."""

    call: int = 0
    """Which of the example calls it was traced with."""

    def __post_init__(self) -> None:
        self._flags: tuple[tuple[nn.Module, bool], ...] = ()
        self._tensors: tuple[tuple[nn.Module, str, torch.dtype], ...] = ()
        self._arguments: tuple[Argument, ...] = ()
        self._made: int | None = None
        """What tells the graph as it was made from one that somebody has edited."""
        self.is_edited = False
        """Whether somebody has, for which ``model.graph`` is there and ``model.recompile()``."""
        self.run: Callable[..., Any] = _not_compiled
        """Runs the graph, with the model as first argument."""

    def compile(
        self, model: nn.Module, path: str, functions: Mapping[fx.Graph | None, Callable[..., Any]]
    ) -> None:
        """Generate the code of the graph, that of the module at `path`, unless it is among `functions`."""
        self._flags = tuple((attribute(model, path) if path else model, m) for path, m in self.modes.items())
        if self.dtypes:
            modules = dict(model.named_modules())
            owned = ((path.rpartition("."), dtype) for path, dtype in self.dtypes.items())
            self._tensors = tuple(
                (modules[owner], name, dtype) for (owner, _, name), dtype in owned if owner in modules
            )
        self.run = functions.get(self.graph, _not_compiled)
        if self.graph is not None:
            assert self.premises is not None
            fingerprint = hash(tuple(_listing(self.graph)))
            self._made = self._made or fingerprint
            self.is_edited = fingerprint != self._made
            self._arguments = arguments_of(self.graph)
            self.premises.bind(model, self.graph, path)
            if self.graph not in functions:
                self.run = compiled(self.graph, model, path)

    def fits(self) -> bool:
        """Whether it does what the module would do now."""
        return self.computes_the_same() and (
            self.premises is None
            or not self.premises.left
            or self.premises.leaves_nothing()
            or torch.compiler.is_exporting()  # what is exported only computes
        )

    def computes_the_same(self) -> bool:
        """Whether it gives what the module would give now, whatever that leaves in attributes."""
        if not self.is_for_now():
            return False
        if self.premises is None:
            return True
        return self.premises.hold_for_compiler() if torch.compiler.is_compiling() else self.premises.hold()

    def takes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether it is what the module would do for these arguments."""
        for argument in self._arguments:  # noqa: SIM110
            if not argument.fits(args, kwargs):
                return False
        return True

    def is_for_now(self) -> bool:
        """Whether the modules are in these modes now, and parameters and buffers of these dtypes."""
        # With no generators, which would cost as much as all the rest.
        for module, name, dtype in self._tensors:
            if getattr(getattr(module, name, None), "dtype", None) is not dtype:
                return False
        return self.has_modes()

    def has_modes(self) -> bool:
        """Whether the modules are in these modes now."""
        for module, training in self._flags:  # noqa: SIM110
            if module.training is not training:
                return False
        return True


class GraphChoice:
    """The graphs of a model or of a part of it: for eval mode, for train mode if it is another, and more.

    More come up where the mode of a submodule is switched by itself, in code that asks for it
    (``F.dropout(x, p, self.training)``), and where a model is cast whose code asks for a dtype
    (``if x.dtype == torch.float16``). They are traced when they are first needed.

    Where a graph is not what the modules mean any more, since they have hooks, other attributes or other
    submodules than when it was traced, or where none can be traced, the module's own code runs. So it does
    where it sets attributes to something else than they have, which graphs do not.
    """

    def __init__(self, model: nn.Module, path: str, variants: list[ModeGraph]) -> None:
        self._model, self._path, self.variants = model, path, variants
        self.own_code = ModeGraph({}, None)
        self.settled: ModeGraph | None = None
        """What has been chosen in front of a compiled call, which must not choose again."""
        self._hooks: list[dict[int, Any]] = []
        self._hooked: dict[tuple[int, tuple[int, ...]], ModeGraph] = {}
        self._replaced: Run | None = None

    @property
    def graphs(self) -> list[fx.Graph]:
        """Each once."""
        return list(dict.fromkeys(v.graph for v in self.variants if v.graph is not None))

    @property
    def evaluated(self) -> list[fx.Graph | None]:
        """What runs in eval mode of all modules, for each example call."""
        first = {variant.call: variant.graph for variant in reversed(self.variants)}
        return [first[call] for call in sorted(first)]

    def running(self, *, training: bool) -> fx.Graph | None:
        """What runs in eval mode, or in train mode, of all modules, in the dtypes of the transform."""
        of_call = [variant for variant in self.variants if not variant.call]
        return of_call[1 if training and len(of_call) > 1 else 0].graph

    def compile(self) -> None:
        """Generate the code of all graphs anew, after they have been changed."""
        made: dict[fx.Graph | None, Callable[..., Any]] = {None: self.own_run()}
        for variant in (self.own_code, *self.variants):
            variant.compile(self._model, self._path, made)
            made[variant.graph] = variant.run
        self._hooked.clear()
        self._hooks = [vars(module)[name] for module in self._model.modules() for name in CALLED_HOOKS]

    def settle(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Choose for one call that is compiled: see `settled`.

        Compilers do not look at hooks. They get a function for each set of hooks, so that they compile anew.
        """
        self.settled = chosen = self.chosen_for(args, kwargs)
        if any(self._hooks):
            hooks = tuple(id(hook) for of_kind in self._hooks for hook in of_kind.values())
            if (id(chosen), hooks) not in self._hooked:
                hooked = self._hooked[id(chosen), hooks] = replace(chosen)
                hooked.run = counted_alone(chosen.run)
            self.settled = self._hooked[id(chosen), hooks]

    def chosen_for(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ModeGraph:
        """What runs for these arguments: the own code where they are those of no example call."""
        if self.settled is not None:
            return self.settled if self.settled.takes(args, kwargs) else self.own_code
        for variant in self.variants:
            if variant.takes(args, kwargs) and variant.fits():
                return variant
        known = [variant for variant in self.variants if variant.takes(args, kwargs)]
        if is_proxied(*args, *kwargs.values()):  # other tracers of torch.fx are to find a graph
            for variant in known:
                if variant.computes_the_same():
                    return variant
        return self._other(known)

    def chosen(self) -> ModeGraph:
        """What runs in the modes that modules are in now, in these dtypes, with these hooks, and so on.

        For the arguments of the first example call.
        """
        if self.settled is not None:
            return self.settled
        of_call = [variant for variant in self.variants if not variant.call]
        for variant in of_call:
            if variant.fits():
                return variant
        return self._other(of_call)

    def _other(self, known: list[ModeGraph]) -> ModeGraph:
        """What runs where none of `known` fits, which are those for the arguments."""
        model: Any = self._model
        premises = [variant.premises for variant in known if variant.premises is not None]
        # What hooks do must not be done while a graph is traced.
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
                "knows nothing of the edit: undo the change, or write the edit into the model's code and "
                "transform that"
            )
        return self.own_code

    def graph_for_now(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ModeGraph:
        """As `chosen_for`, with a graph even where the own code runs, if it can be traced."""
        known = (variant for variant in self.variants if variant.takes(args, kwargs))
        return self._computing(args, kwargs) or self._new(next(known, self.variants[0]))

    def _computing(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ModeGraph | None:
        """As `chosen_for`; where the own code runs, a graph that computes the same and sets no attributes."""
        variant = self.chosen_for(args, kwargs)
        if variant is not self.own_code:
            return variant
        known = (variant for variant in self.variants if variant.takes(args, kwargs))
        return next((variant for variant in known if variant.computes_the_same()), None)

    def _new(self, like: ModeGraph) -> ModeGraph:
        """A graph for now, traced with the example call of `like`."""
        model: Any = self._model
        variant: ModeGraph = model.trace_modes(self._path, self.variants, like.call)
        variant.call = like.call
        self.variants.append(variant)
        self.compile()
        return variant

    def own_run(self) -> Callable[..., Any]:
        """What the graphs stand for: the module's own code, with the model as first argument."""
        model: Any = self._model
        run: Callable[..., Any] = model.own_run()
        return run

    @contextmanager
    def run_by(self, run: Run) -> Iterator[None]:
        """Let ``run(graph, args, kwargs)`` run the graphs instead of the generated code."""
        self._replaced = run
        try:
            yield
        finally:
            self._replaced = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph for these modes."""
        variant = self.chosen_for(args, kwargs)
        if self._replaced is not None and variant.graph is not None:
            return self._replaced(variant.graph, args, kwargs)
        return variant.run(self._model, *args, **kwargs)


def graphs_of_calls(calls: Sequence[Part]) -> list[ModeGraph]:
    """The graphs of a model for each of its example calls."""
    variants = [mode_graphs("", part) for part in calls]
    return [replace(variant, call=call) for call, of_call in enumerate(variants) for variant in of_call]


def mode_graphs(path: str, part: Part) -> list[ModeGraph]:
    """The graphs of `part`, one for both modes where they are equal and the modes are not looked at."""
    evaluated = _mode_graph(path, part.evaluated, training=False)
    if part.trained is None:
        return [evaluated, ModeGraph({path: True}, None)]
    trained = _mode_graph(path, part.trained, training=True)
    assert evaluated.graph is not None
    assert trained.graph is not None
    if _listing(evaluated.graph) != _listing(trained.graph):
        return [evaluated, trained]
    if not part.evaluated.modes and not part.trained.modes and part.evaluated.left == part.trained.left:
        return [ModeGraph({}, evaluated.graph, evaluated.dtypes, evaluated.premises)]
    return [evaluated, ModeGraph(trained.modes, evaluated.graph, trained.dtypes, trained.premises)]


def traced_graph(modes: dict[str, bool], found: Trace) -> ModeGraph:
    """What was traced in `modes`."""
    premises = Premises(found.reads, found.followed, found.iterated, found.left)
    return ModeGraph(modes, found.graph, found.dtypes, premises)


def counted_alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of `function` that torch.compile counts by itself, and does not take for the same one.

    It gives up on a code object that it has compiled eight times, and models, and parts of a model, would
    otherwise have theirs in common.
    """
    assert isinstance(function, FunctionType)
    code = function.__code__.replace()
    return FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)


def _mode_graph(path: str, found: Trace, *, training: bool) -> ModeGraph:
    # The mode of the module itself comes first: it decides almost always, and whether gradients are computed.
    return traced_graph({path: training, **found.modes}, found)


def _not_compiled(*_args: Any, **_kwargs: Any) -> Any:
    raise AssertionError("a graph runs that was not compiled")


def _listing(graph: fx.Graph) -> list[tuple[Any, ...]]:
    """The graph as plain data, to compare two."""
    return [(node.op, node.target, repr(node.args), repr(node.kwargs)) for node in graph.nodes]
