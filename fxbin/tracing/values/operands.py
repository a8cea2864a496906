"""Converts between traced values, plain values and nodes in arguments and results of calls."""

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
    """`result` with ``change(leaf, origin)`` for each leaf; ``item(origin, key)`` is that of an item."""
    inside = parts(result)
    if inside is None:
        return change(result, origin)
    values = [map_results(x, change, _Part(origin, key, item), item) for key, x in inside.items()]
    if not issubclass(type(result), torch.Size):
        return rebuilt(result, values)
    sizes = TracedSize(values)
    # For code that reads the number of dimensions; it becomes a node only then.
    sizes.rank = partial(change, len(values), _Part(origin, Length(), item))
    return sizes


@dataclass(frozen=True)
class Length:
    """A key that stands for the length of a container."""


class _Part:
    """An item of the result of a node, which becomes a node itself when it is needed."""

    def __init__(self, origin: Any, key: Any, item: Callable[..., Any]) -> None:
        self._origin, self._key, self._item = origin, key, item

    def node(self) -> Any:
        origin = self._origin.node() if isinstance(self._origin, _Part) else self._origin
        return None if origin is None else self._item(origin, self._key)


def origin_node(origin: Any) -> Any:
    """The node of an origin that `map_results` has passed to a function."""
    return origin.node() if isinstance(origin, _Part) else origin


def holds(items: Any, kind: type | UnionType) -> bool:
    """Whether `items` contain a value of `kind`, or of a class derived from it."""
    # By `type`, because traced values pass for the type that they carry.
    return any(issubclass(type(item), kind) for item in leaves(items))


def plain_values(items: Any) -> Any:
    """`items` with plain values in place of traced Python values; traced tensors remain."""
    return map_nested(items, lambda item: item._value if type(item) is TracedValue else item)


def is_of_content(items: Any) -> bool:
    """Whether any traced value in `items` depends on the content of a tensor."""
    return any(type(item) is TracedValue and item._of_content for item in leaves(items))


def specs(result: Any) -> Any:
    """`result` with a `TensorSpec` in place of each tensor in it."""
    if type(result) is TracedTensor:
        result = result._value
    if isinstance(result, Tensor):
        return TensorSpec(tuple(result.shape), result.dtype)
    inside = parts(result)
    if inside is None:
        return result
    found = {key: specs(item) for key, item in inside.items()}
    return tuple(found.values()) if isinstance(result, list | tuple) else found
