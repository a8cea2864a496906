"""Runs a model on tensors without data and writes what it does into a graph."""

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from fxbin.graph.scope import Scope
from fxbin.original.holdings import Holdings
from fxbin.original.reach import reachable
from fxbin.tracing.recorder.answers import Answers
from fxbin.tracing.recorder.assumptions import Assumptions
from fxbin.tracing.recorder.attributes import Attributes
from fxbin.tracing.recorder.kept_whole import KeptWhole
from fxbin.tracing.recorder.module_state import ModuleState
from fxbin.tracing.recorder.modules import Modules
from fxbin.tracing.recorder.position import Position
from fxbin.tracing.recorder.recorder import Args, Call, Kwargs, Recorder
from fxbin.tracing.values.dispatch import seen_operator
from fxbin.tracing.values.reference import UNNAMED_METHODS
from fxbin.tracing.values.tensor import TracedTensor


class Tracer:
    """Records one forward of `root`, in the mode its modules are in, into `graph`.

    `islands` are modules to keep whole, beside those of the classes `leaf_modules`.
    `running` is where `entry`, a part of `root`, is called from: names and paths are those of `root`,
    and `holdings` are what is known of them.
    `with_data` lets operators run on the content of inputs and parameters, so that code may look at
    it: the names of what ran are right, but the graph is good for these inputs only.

    Functions, methods and operators that the code calls come to its methods; all else to its parts.
    """

    def __init__(
        self,
        root: nn.Module,
        leaf_modules: tuple[type[nn.Module], ...] = (),
        islands: frozenset[nn.Module] = frozenset(),
        *,
        entry: nn.Module | None = None,
        running: Scope = (),
        holdings: Holdings | None = None,
        with_data: bool = False,
    ) -> None:
        self.root = root
        self.entry = root if entry is None else entry
        """The module whose forward is recorded."""
        self.graph = fx.Graph()
        self.chance: list[str] = []
        """From where the code got random numbers of the system."""
        holdings = holdings or Holdings(root)
        self.attributes = Attributes(holdings, with_data=with_data)
        self.position = Position(running, with_data=with_data)
        self.assumptions = Assumptions(self.graph, self.position, holdings.parameters)
        self.recorder = Recorder(self, self.attributes, self.position, self.assumptions)
        self.answers = Answers(self, self.recorder, self.attributes, self.position)
        self.state = ModuleState(self.recorder, self.attributes, self.position)
        parts = (self.recorder, self.attributes, self.position, self.assumptions)
        self.kept_whole = KeptWhole(*parts, entry=self.entry, leaf_modules=leaf_modules, islands=islands)
        self.modules = Modules(*parts, self.kept_whole, self.state.reads)

    def reached(self) -> list[nn.Module]:
        """The modules of `root` that the recorded code may change."""
        if self.entry is self.root:
            return list(self.root.modules())
        known = self.attributes.holdings.module_paths
        return [module for module in reachable(self.entry) if module in known]

    def call_function(
        self,
        name: str,
        original: Callable[..., Any],
        args: Args,
        kwargs: Kwargs,
        *,
        tracked: bool,
        run: Callable[..., Any] | None = None,
    ) -> Any:
        """``torch.name(*args)`` or ``F.name(*args)``: named whatever its arguments are.

        `run` is what has that name now, if not `original`.
        """
        call = Call("call_function", original, run or original, name, tracked)
        return self.recorder.record(call, args, kwargs)

    def call_method(self, name: str, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """``args[0].name(*args[1:])``: named where `args[0]` is tracked."""
        tracked = type(args[0]) is TracedTensor and args[0]._tracked and name not in UNNAMED_METHODS
        return self.recorder.record(Call("call_method", name, original, name, tracked), args, kwargs)

    def call_plain_method(self, name: str, function: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """A method reached through `Tensor` itself, or of a tensor that is no traced one: never named."""
        return self.recorder.record(Call("call_method", name, function, name, tracked=False), args, kwargs)

    def call_operator(
        self,
        name: str,
        function: Callable[..., Any],
        run: Callable[..., Any],
        receiver: TracedTensor,
        operands: Args,
    ) -> Any:
        """``receiver <op> operand``; for a reflected `name`, ``operand <op> receiver``."""
        reflected = name.startswith("__r") and name != "__rshift__"
        args = (*operands, receiver) if reflected else (receiver, *operands)
        op, tracked = seen_operator(name, receiver, operands)
        return self.recorder.record(Call("call_function", function, run, op, tracked), args, {})

    def compute(self, function: Callable[..., Any], args: Args) -> Any:
        """A computation on Python values or attributes, which the reference never sees."""
        call = Call("call_function", function, function, function.__name__, tracked=False)
        return self.recorder.record(call, args, {})

    def call_opaque(self, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """``target(*args, **kwargs)`` as one node that nothing is named in; `run` tells shapes."""
        call = Call("call_function", target, run, target.__name__, tracked=False)
        return self.recorder.record(call, args, kwargs)

    def call_whole(self, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """``target(*args, **kwargs)`` as one node; `run` does the same and shows the operators in it."""
        return self.kept_whole.call_function(target, run, args, kwargs)
