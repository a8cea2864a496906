"""What a tracer is to the values and the stand-ins that call it."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from torch import Tensor, fx, nn

Args = tuple[Any, ...]
Kwargs = dict[str, Any]

# Their files import this one.
TracedTensor: TypeAlias = Any
"""A `fxbin.tracing.values.tensor.TracedTensor`."""
TracedValue: TypeAlias = Any
"""A `fxbin.tracing.values.numbers.TracedValue`."""


class Position(Protocol):
    """Where the running code is, as `fxbin.tracing.recorder.position.Position` knows it."""

    with_data: bool
    """Whether operators run on the content of tensors."""

    @property
    def is_inside(self) -> bool:
        """Whether the running code is part of what becomes one node."""
        ...

    @property
    def knows_values(self) -> bool:
        """Whether code gets sizes and other Python values as they are."""
        ...


class Assumptions(Protocol):
    """What the graph takes for granted, as in `fxbin.tracing.recorder.assumptions`."""

    def rely_on(self, value: TracedValue) -> Any:
        """The plain value, which the graph is special to from now on."""
        ...


class Answers(Protocol):
    """What only the run will tell of a tensor, as in `fxbin.tracing.recorder.answers`."""

    def number_of(self, tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
        """The content of a tensor of one element."""
        ...

    def device_of(self, tensor: TracedTensor) -> Any:
        """Where the tensor is when the graph runs."""
        ...

    def requires_grad_of(self, tensor: TracedTensor) -> Any:
        """Whether it needs a gradient when the graph runs."""
        ...

    def add_hook(self, tensor: TracedTensor, hook: Callable[[Tensor], Any]) -> None:
        """``tensor.register_hook(hook)``."""
        ...


class Modules(Protocol):
    """Calls of modules, as in `fxbin.tracing.recorder.modules`."""

    def call(self, original: Callable[..., Any], module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        """A module is called."""
        ...


class ModuleState(Protocol):
    """What the code reads and changes of modules, as in `fxbin.tracing.recorder.module_state`."""

    reads: Any
    """The `Reads`: what the code has read of modules."""

    modes: dict[nn.Module, bool]
    """The modules whose mode the code looks at, and what it is."""

    assigned: dict[nn.Module, str]
    """The modules of which the code changes an attribute, and its name."""

    def look_at_mode(self, module: nn.Module, mode: bool) -> None:
        """The code reads ``module.training``."""
        ...

    def switch_mode(self, module: nn.Module) -> None:
        """The code assigns ``module.training``."""
        ...

    def note_read(self, module: nn.Module, name: str, value: Any) -> None:
        """The code reads ``module.name``."""
        ...

    def note_assigned(self, module: nn.Module, name: str, value: Any) -> None:
        """The code assigns ``module.name``."""
        ...

    def assign(self, module: nn.Module, name: str, value: TracedTensor) -> None:
        """The code assigns a traced tensor to a buffer."""
        ...


class Recording(Protocol):
    """Writes what they do into a graph, as `fxbin.tracing.recorder.tracer.Tracer` does."""

    root: nn.Module
    graph: fx.Graph

    attributes: Any
    """The `Attributes` of `root`: which traced value stands for which parameter, buffer or constant."""

    chance: list[str]
    """From where the code got random numbers of the system."""

    @property
    def position(self) -> Position:
        """Where the running code is."""
        ...

    @property
    def assumptions(self) -> Assumptions:
        """What the graph takes for granted."""
        ...

    @property
    def answers(self) -> Answers:
        """What only the run will tell of a tensor."""
        ...

    @property
    def modules(self) -> Modules:
        """Calls of modules."""
        ...

    @property
    def state(self) -> ModuleState:
        """What the code reads and changes of modules."""
        ...

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
        """A function of torch is called."""
        ...

    def call_method(self, name: str, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """A method of a tensor is called."""
        ...

    def call_plain_method(self, name: str, function: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """A method that no operator of the reference implementation stands for is called."""
        ...

    def call_operator(
        self,
        name: str,
        function: Callable[..., Any],
        run: Callable[..., Any],
        receiver: TracedTensor,
        operands: Args,
    ) -> Any:
        """An operator of Python, ``receiver + operand``, is used."""
        ...

    def call_opaque(self, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Something is called whose code is not followed."""
        ...

    def call_whole(self, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Something is called that becomes one node."""
        ...

    def compute(self, function: Callable[..., Any], args: Args) -> Any:
        """A number is computed from others."""
        ...
