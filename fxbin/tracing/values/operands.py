"""Between what user code passes to a torch call, what the graph holds and what really runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import UnionType
from typing import Any

import torch
from torch import Tensor

from fxbin.graph.containers import leaves, map_nested, parts, rebuilt
from fxbin.graph.record import TensorSpec
from fxbin.tracing.values.numbers import TracedSize, TracedValue
from fxbin.tracing.values.tensor import TracedTensor


def map_results(result: Any, change: Callable[[Any, Any], Any], origin: Any, item: Callable[..., Any]) -> Any:
    """`result` with ``change(leaf, origin)`` at each leaf; ``item(origin, key)`` leads to its parts."""
    inside = parts(result)
    if inside is None:
        return change(result, origin)
    values = [map_results(x, change, _Part(origin, key, item), item) for key, x in inside.items()]
    if not issubclass(type(result), torch.Size):
        return rebuilt(result, values)
    sizes = TracedSize(values)
    # For code that branches over the number of dimensions; most does not, so it is no node yet.
    sizes.rank = partial(change, len(values), _Part(origin, Length(), item))
    return sizes


@dataclass(frozen=True)
class Length:
    """A key that stands for ``len`` of it."""


class _Part:
    """A part of a node's result; it becomes a node of its own once somebody needs it."""

    def __init__(self, origin: Any, key: Any, item: Callable[..., Any]) -> None:
        self._origin, self._key, self._item = origin, key, item

    def node(self) -> Any:
        origin = self._origin.node() if isinstance(self._origin, _Part) else self._origin
        return None if origin is None else self._item(origin, self._key)


def origin_node(origin: Any) -> Any:
    """The node of an origin that `map_results` passed on."""
    return origin.node() if isinstance(origin, _Part) else origin


def holds(items: Any, kind: type | UnionType) -> bool:
    """Whether anything in `items` is of `kind`, or of a class derived from it."""
    # The real type, since traced values pass for the type that they carry.
    return any(issubclass(type(item), kind) for item in leaves(items))


def plain_values(items: Any) -> Any:
    """`items` with numbers in place of traced numbers; traced tensors stay."""
    return map_nested(items, lambda item: item._value if type(item) is TracedValue else item)


def is_of_content(items: Any) -> bool:
    """Whether any number in `items` comes out of a tensor."""
    return any(type(item) is TracedValue and item._of_content for item in leaves(items))


def specs(result: Any) -> Any:
    """`result` with a `TensorSpec` for each tensor in it."""
    if type(result) is TracedTensor:
        result = result._value
    if isinstance(result, Tensor):
        return TensorSpec(tuple(result.shape), result.dtype)
    inside = parts(result)
    if inside is None:
        return result
    found = {key: specs(item) for key, item in inside.items()}
    return tuple(found.values()) if isinstance(result, list | tuple) else found
