"""Traced Python values, which depend on the inputs: sizes, dtypes, devices, and what is computed from them.

They look like the value they carry, also to `isinstance`, and record every computation in the graph. Where
Python itself needs the plain value (a branch, `range`, an index), it gets it, and the tracer notes that the
graph relies on it.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.tensor import TracedTensor

if TYPE_CHECKING:
    from fxbin.tracing.values.recording import Recording


class TracedValue:
    """A Python value with the node that computes it."""

    def __init__(
        self,
        tracer: "Recording",
        node: fx.Node,
        value: Any,
        *,
        guarded: bool = True,
        of_content: bool = False,
    ) -> None:
        self._tracer = tracer
        self._node = node
        self._value = value
        self._guarded = guarded
        """Whether the graph refuses to run if code relied on the value and it is another one then."""
        self._of_content = of_content
        """Whether it is the content of a tensor, so that only its type is known: ``x.max().item()``."""

    # A TracedValue passes `isinstance(n, int)`. C code of Python looks at the actual type, so it always
    # calls __index__ and the like below, which note the use of the plain value.
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._value)

    @speaks_for_user
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Python and numpy look for protocols; those that are supported are methods below.
            raise AttributeError(name)
        found = self._tracer.compute(getattr, (self, name))
        if not callable(getattr(found, "_value", None)):
            return found

        # Not a traced value with `__call__`, because all traced values would then be callable.
        def method(*args: Any) -> Any:
            return self._tracer.compute(call_value, (found, *args))

        return method

    def __repr__(self) -> str:
        return repr(self._value)

    # Text is for messages, which must not restrict the inputs that a graph is valid for.
    def __str__(self) -> str:
        return str(self._value)

    @speaks_for_user
    def __format__(self, spec: str) -> str:
        return format(self._value, spec)

    def __bool__(self) -> bool:
        # Rely only on whether a number is 0: `if x.shape[0]:` must not make the batch size a constant.
        known = self if type(self._value) is bool else self._tracer.compute(bool, (self,))
        return bool(self._tracer.assumptions.rely_on(known))

    @speaks_for_user
    def __index__(self) -> int:
        return operator.index(self._tracer.assumptions.rely_on(self))

    @speaks_for_user
    def __int__(self) -> int:
        return int(self._tracer.assumptions.rely_on(self))

    @speaks_for_user
    def __float__(self) -> float:
        return float(self._tracer.assumptions.rely_on(self))

    @speaks_for_user
    def __complex__(self) -> complex:
        return complex(self._tracer.assumptions.rely_on(self))

    @speaks_for_user
    def __hash__(self) -> int:
        return hash(self._tracer.assumptions.rely_on(self))

    @speaks_for_user
    def __len__(self) -> int:
        return len(self._tracer.assumptions.rely_on(self))

    @speaks_for_user
    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return torch.tensor(self._tracer.assumptions.rely_on(self)).numpy()

    def __round__(self, digits: int | None = None) -> Any:
        return self._tracer.compute(round, (self,) if digits is None else (self, digits))

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def __deepcopy__(self, memo: dict[int, Any]) -> "TracedValue":
        return self


@speaks_for_user
def call_value(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` for a method of a Python value: ``device.type.startswith("cuda")``."""
    return function(*args)


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[TracedValue, Any], Any]:
    def method(self: TracedValue, other: Any) -> Any:
        if type(other) is TracedTensor:
            return NotImplemented  # NNCF names the reflected method of the tensor
        return self._tracer.compute(function, (self, other))

    return method


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[TracedValue, Any], Any]:
    def method(self: TracedValue, other: Any) -> Any:
        return self._tracer.compute(function, (other, self))

    return method


def _unary(function: Callable[[Any], Any]) -> Callable[[TracedValue], Any]:
    def method(self: TracedValue) -> Any:
        return self._tracer.compute(function, (self,))

    return method


_BITWISE = ["lshift", "rshift", "and", "or", "xor"]
_ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", *_BITWISE]
_COMPARISON = ["eq", "ne", "lt", "le", "gt", "ge"]

for _name in _ARITHMETIC:
    _function = getattr(operator, f"__{_name}__")
    setattr(TracedValue, f"__{_name}__", _binary(_function))
    setattr(TracedValue, f"__r{_name}__", _reflected(_function))
for _name in _COMPARISON:
    setattr(TracedValue, f"__{_name}__", _binary(getattr(operator, f"__{_name}__")))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(TracedValue, f"__{_name}__", _unary(getattr(operator, f"__{_name}__")))
for _name in ("floor", "ceil", "trunc"):
    setattr(TracedValue, f"__{_name}__", _unary(getattr(math, _name)))


_Size = torch.Size  # while a model is traced, user code finds another class under this name


class TracedSize(tuple[Any, ...]):  # noqa: SLOT001  (a tuple can have attributes, but no slots for them)
    """The value of `x.shape`: a tuple of traced ints that passes for `torch.Size`."""

    _stands_for = tuple

    rank: Callable[[], Any] | None = None
    """Gives its length as a traced value, if these are all the sizes of a tensor."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return _Size

    @speaks_for_user
    def numel(self) -> Any:
        """Product of the sizes."""
        return math.prod(self)

    @speaks_for_user
    def __getitem__(self, index: Any) -> Any:
        item = tuple.__getitem__(self, index)
        return TracedSize(item) if isinstance(index, slice) else item

    @speaks_for_user
    def __add__(self, other: Iterable[Any]) -> "TracedSize":
        return TracedSize((*self, *other))

    @speaks_for_user
    def __radd__(self, other: Iterable[Any]) -> "TracedSize":
        return TracedSize((*other, *self))

    def __iter__(self) -> Iterator[Any]:
        return tuple.__iter__(self)
