"""The tracer as a protocol, for traced values and replacements, which the tracer imports."""

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
    """The position of the running code, `fxbin.tracing.recorder.position.Position`."""

    with_data: bool
    """Whether operators run with data."""

    @property
    def is_kept_whole(self) -> bool:
        """Whether the running code is inside a call that is kept whole as one node."""
        ...

    @property
    def knows_values(self) -> bool:
        """Whether code gets plain sizes and numbers."""
        ...


class Assumptions(Protocol):
    """The Python values that a graph relies on, `fxbin.tracing.recorder.assumptions.Assumptions`."""

    def rely_on(self, value: TracedValue) -> Any:
        """The plain value, on which the graph now relies."""
        ...


class Answers(Protocol):
    """Values that are known only when the graph runs, `fxbin.tracing.recorder.answers.Answers`."""

    def number_of(self, tensor: TracedTensor, read: Callable[[Tensor], Any]) -> Any:
        """The number in a tensor of one element."""
        ...

    def device_of(self, tensor: TracedTensor) -> Any:
        """The device of the tensor when the graph runs."""
        ...

    sets_gradients: bool
    """Whether the code itself has set whether gradients are computed, with a constant, where it is now."""

    has_enabled_gradients: bool
    """Whether the code itself has enabled gradients anywhere so far."""

    def flag_of(self, tensor: TracedTensor, name: str) -> Any:
        """``tensor.requires_grad``, ``is_leaf``, ``grad_fn`` or ``grad``, whichever `name` is."""
        ...

    def class_of(self, tensor: TracedTensor) -> type:
        """``type(tensor)`` for the code."""
        ...

    def attribute_of(self, tensor: TracedTensor, name: str) -> Any:
        """An attribute that tensors do not have, which may have been put on an input."""
        ...

    def attributes_of(self, tensor: TracedTensor, own: dict[str, Any]) -> dict[str, Any]:
        """``vars(tensor)``, of which the code has put `own` on the tensor."""
        ...

    def add_hook(self, tensor: TracedTensor, hook: Callable[[Tensor], Any]) -> None:
        """Record ``tensor.register_hook(hook)``."""
        ...


class Questions(Protocol):
    """Questions of the code on whose answers a graph relies, `fxbin.tracing.recorder.questions.Questions`."""

    @property
    def all(self) -> tuple[Any, ...]:
        """All questions."""
        ...

    def begin(self, answers: dict[tuple[Any, ...], Any]) -> None:
        """Note the answers at the beginning of the trace."""
        ...

    def of_state(self, function: Callable[..., Any], args: Args, answer: Any) -> None:
        """Note that the code relies on the answer of ``function(*args)``."""
        ...


class Modules(Protocol):
    """Calls of modules, `fxbin.tracing.recorder.modules.Modules`."""

    def call(self, original: Callable[..., Any], module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        """Record a call of `module`."""
        ...


class ModuleState(Protocol):
    """Modes and attributes that code uses, `fxbin.tracing.recorder.module_state.ModuleState`."""

    reads: Any
    """The attributes of modules that the code has read, a `Reads`."""

    modes: dict[nn.Module, bool]
    """The mode of each module whose mode the code reads: True for train mode."""

    assigned: dict[nn.Module, str]
    """The modules of which the code changes an attribute, each with one name."""

    def look_at_mode(self, module: nn.Module, mode: bool) -> None:
        """Note that the code reads ``module.training``."""
        ...

    def switch_mode(self, module: nn.Module) -> None:
        """Note that the code assigns ``module.training``."""
        ...

    def note_read(self, module: nn.Module, name: str, value: Any) -> None:
        """Note that the code reads ``module.name``."""
        ...

    def note_all_read(self, module: nn.Module) -> None:
        """Note that the code reads ``vars(module)``, and so any attribute."""
        ...

    def note_content(self, tensor: TracedTensor) -> None:
        """Note that the code reads the content of a constant."""
        ...

    def note_assigned(self, module: nn.Module, name: str, value: Any) -> None:
        """Note that the code assigns ``module.name``."""
        ...

    def assign(self, module: nn.Module, name: str, value: TracedTensor) -> None:
        """Record the assignment of a traced tensor to a buffer."""
        ...


class Recording(Protocol):
    """The tracer, `fxbin.tracing.recorder.tracer.Tracer`, which records a forward as a graph."""

    root: nn.Module
    """The model."""

    graph: fx.Graph
    """The graph so far."""

    attributes: Any
    """The parameters, buffers and constants with the traced tensors that stand for them, an `Attributes`."""

    random_sources: list[str]
    """The functions by which the code draws or seeds random numbers that a graph cannot repeat."""

    @property
    def position(self) -> Position:
        """The position of the running code."""
        ...

    @property
    def assumptions(self) -> Assumptions:
        """The Python values that the graph relies on."""
        ...

    @property
    def answers(self) -> Answers:
        """Values of tensors that are known only when the graph runs."""
        ...

    @property
    def questions(self) -> Questions:
        """What the code asks of torch and of tensors that are not computed."""
        ...

    @property
    def modules(self) -> Modules:
        """The calls of modules."""
        ...

    @property
    def state(self) -> ModuleState:
        """The modes and attributes of modules that the code reads and assigns."""
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
        """Record a call of a function of torch."""
        ...

    def call_method(self, name: str, original: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record a call of a method of a tensor."""
        ...

    def call_plain_method(self, name: str, function: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record a call of a method that NNCF does not name."""
        ...

    def call_operator(
        self,
        name: str,
        function: Callable[..., Any],
        run: Callable[..., Any],
        receiver: TracedTensor,
        operands: Args,
    ) -> Any:
        """Record an operator of Python, such as ``receiver + operand``."""
        ...

    def call_opaque(self, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record a call as one node without names, because its code cannot be traced."""
        ...

    def call_whole(self, target: Any, run: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
        """Record a call as one node, with the operators that run inside."""
        ...

    def compute(self, function: Callable[..., Any], args: Args) -> Any:
        """Record a computation on Python values or attributes."""
        ...
