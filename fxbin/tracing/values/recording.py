"""What a tracer is to the values and the stand-ins that call it."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, fx, nn

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Recording(Protocol):
    """Writes what they do into a graph, as `fxbin.tracing.recorder.tracer.Tracer` does."""

    root: nn.Module
    graph: fx.Graph
    with_data: bool
    """Whether operators run on the content of tensors."""

    attributes: Any
    """The `Attributes` of `root`: which traced value stands for which parameter, buffer or constant."""

    reads: Any
    """The `Reads`: what the code has read of modules."""

    modes: dict[nn.Module, bool]
    """The modules whose mode the code looks at, and what it is."""

    chance: list[str]
    """From where the code got random numbers of the system."""

    assigned: dict[nn.Module, str]
    """The modules of which the code changes an attribute, and its name."""

    @property
    def is_inside(self) -> bool:
        """Whether the running code is part of what becomes one node."""
        ...

    @property
    def knows_values(self) -> bool:
        """Whether code gets sizes and other Python values as they are."""
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
        receiver: Any,
        operands: Args,
    ) -> Any:
        """An operator of Python, ``receiver + operand``, is used."""
        ...

    def call_module(self, original: Callable[..., Any], module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        """A module is called."""
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

    def specialise(self, value: Any) -> Any:
        """The number itself, which the graph is special to from now on."""
        ...

    def number_of(self, tensor: Any, read: Callable[[Tensor], Any]) -> Any:
        """The content of a tensor of one element."""
        ...

    def device_of(self, tensor: Any) -> Any:
        """Where the tensor is when the graph runs."""
        ...

    def requires_grad_of(self, tensor: Any) -> Any:
        """Whether it needs a gradient when the graph runs."""
        ...

    def add_hook(self, tensor: Any, hook: Callable[[Tensor], Any]) -> None:
        """``tensor.register_hook(hook)``."""
        ...

    def rely_on_count(self, node: fx.Node, count: int) -> None:
        """The code takes `count` parts of what `node` gives."""
        ...

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

    def assign(self, module: nn.Module, name: str, value: Any) -> None:
        """The code assigns a traced tensor to a buffer."""
        ...
