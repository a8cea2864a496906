"""Runs a model on tensors without data and records what it does as a graph."""

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from fxbin.graph.scope import Scope
from fxbin.original.inventory import Inventory
from fxbin.original.reach import reachable
from fxbin.tracing.recorder.answers import Answers
from fxbin.tracing.recorder.assumptions import Assumptions
from fxbin.tracing.recorder.attributes import Attributes
from fxbin.tracing.recorder.kept_whole import KeptWhole
from fxbin.tracing.recorder.module_state import ModuleState
from fxbin.tracing.recorder.modules import Modules
from fxbin.tracing.recorder.position import Position
from fxbin.tracing.recorder.questions import Questions
from fxbin.tracing.recorder.recorder import Args, Call, Kwargs, Recorder
from fxbin.tracing.values.dispatch import visible_operator
from fxbin.tracing.values.reference import UNNAMED_METHODS
from fxbin.tracing.values.tensor import TracedTensor


class Tracer:
    """Records one forward of `root`, in the mode its modules are in, into `graph`.

    Functions, methods and operators that the code calls arrive at its methods, everything else at its parts.

    Args:
        root: the model.
        leaf_modules: classes of modules to keep whole as one node.
        islands: further modules to keep whole.
        entry: the submodule whose forward is recorded in place of that of `root`.
        running: scope of the caller of `entry`.
        inventory: that of `root`; collected if it is not given.
        with_data: whether operators run on the content of inputs and parameters, so that code may look at it.
            The names of what ran are right then, but the graph is valid for these inputs only.
    """

    def __init__(
        self,
        root: nn.Module,
        leaf_modules: tuple[type[nn.Module], ...] = (),
        islands: frozenset[nn.Module] = frozenset(),
        *,
        entry: nn.Module | None = None,
        running: Scope = (),
        inventory: Inventory | None = None,
        with_data: bool = False,
    ) -> None:
        self.root = root
        self.entry = root if entry is None else entry
        """The module whose forward is recorded."""
        self.graph = fx.Graph()
        self.random_sources: list[str] = []
        """The functions by which the code draws or seeds random numbers that a graph cannot repeat."""
        inventory = inventory or Inventory(root)
        self.attributes = Attributes(inventory, with_data=with_data)
        self.position = Position(running, with_data=with_data)
        self.assumptions = Assumptions(self.graph, self.position, inventory.parameters)
        self.recorder = Recorder(self, self.attributes, self.position, self.assumptions)
        self.questions = Questions()
        self.answers = Answers(self, self.recorder, self.attributes, self.position, self.questions)
        self.state = ModuleState(self.recorder, self.attributes, self.position)
        parts = (self.recorder, self.attributes, self.position, self.assumptions)
        self.kept_whole = KeptWhole(*parts, entry=self.entry, leaf_modules=leaf_modules, islands=islands)
        self.modules = Modules(*parts, self.kept_whole, self.state.reads)

    def reached(self) -> list[nn.Module]:
        """The modules of `root` that the recorded code can reach, and so may change."""
        if self.entry is self.root:
            return list(self.root.modules())
        known = self.attributes.inventory.module_paths
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
        """Record ``torch.name(*args)`` or ``F.name(*args)``, which NNCF names whatever the arguments are.

        `run` is the function that has this name now, if it is not `original`.
        """
        call = Call("call_function", original, run or original, name, tracked)
        return self.recorder.record(call, args, kwargs)

    def call_method(self, name: str, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record ``args[0].name(*args[1:])``, which NNCF names if `args[0]` is tracked."""
        tracked = type(args[0]) is TracedTensor and args[0]._tracked and name not in UNNAMED_METHODS
        return self.recorder.record(Call("call_method", name, original, name, tracked), args, kwargs)

    def call_plain_method(self, name: str, function: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record a method looked up on `Tensor` itself, or of a plain tensor, which NNCF never names."""
        return self.recorder.record(Call("call_method", name, function, name, tracked=False), args, kwargs)

    def call_operator(
        self,
        name: str,
        function: Callable[..., Any],
        run: Callable[..., Any],
        receiver: TracedTensor,
        operands: Args,
    ) -> Any:
        """Record ``receiver <op> operand``; for a reflected `name`, ``operand <op> receiver``."""
        reflected = name.startswith("__r") and name != "__rshift__"
        args = (*operands, receiver) if reflected else (receiver, *operands)
        op, tracked = visible_operator(name, receiver, operands)
        return self.recorder.record(Call("call_function", function, run, op, tracked), args, {})

    def compute(self, function: Callable[..., Any], args: Args) -> Any:
        """Record a computation on Python values or attributes, which NNCF never names."""
        call = Call("call_function", function, function, function.__name__, tracked=False)
        return self.recorder.record(call, args, {})

    def call_opaque(self, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record ``target(*args, **kwargs)`` as one node without names; `run` gives the shapes."""
        call = Call("call_function", target, run, target.__name__, tracked=False)
        return self.recorder.record(call, args, kwargs)

    def call_whole(self, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record ``target(*args, **kwargs)`` as one node; `run` does the same and shows its operators."""
        return self.kept_whole.call_function(target, run, args, kwargs)
