"""Python values that depend on the inputs: sizes, dtypes, devices, and what is computed from them.

They look like the value they carry (`isinstance` included) and put every computation into the graph.
Where Python itself needs the value (a branch, `range`, an index) it is handed out, and the tracer
writes down that the graph is special to it.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

if TYPE_CHECKING:
    from fxbin.tracing.tracer import Tracer


class TracedValue:
    """A value with the graph node that computes it."""

    def __init__(self, tracer: "Tracer", node: fx.Node, value: Any) -> None:
        self._tracer = tracer
        self._node = node
        self._value = value

    # A TracedValue passes `isinstance(n, int)`. Python's own C code looks at the real type, so it
    # always goes through __index__ and the like below: nothing is handed out unseen.
    @property
    def __class__(self) -> type:  # type: ignore[override]
        return type(self._value)

    def __getattr__(self, name: str) -> Any:
        return self._tracer.compute(getattr, (self, name))

    def __repr__(self) -> str:
        return f"{self._node.name}={self._value!r}"

    def __bool__(self) -> bool:
        return bool(self._tracer.specialise(self))

    def __index__(self) -> int:
        return operator.index(self._tracer.specialise(self))

    def __int__(self) -> int:
        return int(self._tracer.specialise(self))

    def __float__(self) -> float:
        return float(self._tracer.specialise(self))

    def __complex__(self) -> complex:
        return complex(self._tracer.specialise(self))

    def __hash__(self) -> int:
        return hash(self._tracer.specialise(self))

    def __str__(self) -> str:
        return str(self._tracer.specialise(self))

    def __format__(self, spec: str) -> str:
        return format(self._tracer.specialise(self), spec)

    def __len__(self) -> int:
        return len(self._tracer.specialise(self))

    def __round__(self, digits: int | None = None) -> Any:
        return self._tracer.compute(round, (self,) if digits is None else (self, digits))


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[TracedValue, Any], Any]:
    def method(self: TracedValue, other: Any) -> Any:
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


_ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor"]
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
TracedValue.__divmod__ = lambda self, other: (self // other, self % other)  # type: ignore[attr-defined]


class TracedSize(tuple[Any, ...]):
    """What `x.shape` gives: a tuple of traced ints that passes for `torch.Size`."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return torch.Size

    def numel(self) -> Any:
        """Product of the sizes."""
        return math.prod(self)

    def __getitem__(self, index: Any) -> Any:
        item = tuple.__getitem__(self, index)
        return TracedSize(item) if isinstance(index, slice) else item

    def __add__(self, other: Iterable[Any]) -> "TracedSize":
        return TracedSize((*self, *other))

    def __radd__(self, other: Iterable[Any]) -> "TracedSize":
        return TracedSize((*other, *self))

    def __iter__(self) -> Iterator[Any]:
        return tuple.__iter__(self)
