"""Between what user code passes to a torch call, what the graph holds and what really runs."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from types import UnionType
from typing import Any

import torch
from torch import Tensor

from fxbin.tracing.record import TensorSpec
from fxbin.tracing.tensor import TracedTensor
from fxbin.tracing.values import TracedSize, TracedValue


def map_nested(
    item: Any, change: Callable[[Any], Any], make_tuple: Callable[[type, list[Any]], Any] | None = None
) -> Any:
    """`item` with `change` applied to everything in its tuples, lists, dicts and slices.

    ``make_tuple(kind, items)`` makes tuples of types of their own; they keep them if it is not given.
    """
    # The real type, since traced values pass for the type that they carry.
    kind = type(item)
    if kind is tuple or kind is TracedSize or issubclass(kind, torch.Size):
        return tuple(map_nested(x, change, make_tuple) for x in tuple.__iter__(item))
    if kind is list:
        return [map_nested(x, change, make_tuple) for x in item]
    if issubclass(kind, tuple):
        return (make_tuple or rebuilt)(kind, [map_nested(x, change, make_tuple) for x in item])
    if issubclass(kind, dict):
        return {key: map_nested(x, change, make_tuple) for key, x in item.items()}
    if kind is slice:
        return slice(*(map_nested(x, change, make_tuple) for x in (item.start, item.stop, item.step)))
    return change(item)


def rebuilt(kind: type, items: list[Any]) -> Any:
    """A tuple of a type of its own: named tuples take their items one by one, torch's own as one."""
    return kind(*items) if hasattr(kind, "_fields") else kind(items)


def map_results(result: Any, change: Callable[[Any, Any], Any], origin: Any, item: Callable[..., Any]) -> Any:
    """`result` with ``change(leaf, origin)`` at each leaf; ``item(origin, key)`` leads to its parts."""
    kind = type(result)
    if kind in (list, tuple) or issubclass(kind, tuple):
        parts = [map_results(x, change, _Part(origin, i, item), item) for i, x in enumerate(result)]
        if issubclass(kind, torch.Size):
            sizes = TracedSize(parts)
            # For code that branches over the number of dimensions; most does not, so it is no node yet.
            sizes.rank = partial(change, len(parts), _Part(origin, Length(), item))
            return sizes
        return kind(parts) if kind in (list, tuple) else rebuilt(kind, parts)
    if issubclass(kind, dict):
        return kind(
            (key, map_results(x, change, _Part(origin, key, item), item)) for key, x in result.items()
        )
    if is_dataclass(result) and not isinstance(result, type):
        copied = copy.copy(result)
        for field in fields(result):
            part = _Part(origin, Attribute(field.name), item)
            object.__setattr__(
                copied, field.name, map_results(getattr(result, field.name), change, part, item)
            )
        return copied
    return change(result, origin)


@dataclass(frozen=True)
class Length:
    """A key that stands for ``len`` of it."""


@dataclass(frozen=True)
class Attribute:
    """A key that stands for ``.name`` rather than ``[name]``."""

    name: str


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
    found = False

    def look(item: Any) -> None:
        nonlocal found
        # The real type, since traced values pass for the type that they carry.
        found = found or issubclass(type(item), kind)

    map_nested(items, look)
    return found


def plain_values(items: Any) -> Any:
    """`items` with numbers in place of traced numbers; traced tensors stay."""
    return map_nested(items, lambda item: item._value if type(item) is TracedValue else item)


def is_of_content(items: Any) -> bool:
    """Whether any number in `items` comes out of a tensor."""
    found = False

    def look(item: Any) -> None:
        nonlocal found
        found = found or (type(item) is TracedValue and item._of_content)

    map_nested(items, look)
    return found


def specs(result: Any) -> Any:
    """`result` with a `TensorSpec` for each tensor in it."""
    if type(result) is TracedTensor:
        result = result._value
    if isinstance(result, Tensor):
        return TensorSpec(tuple(result.shape), result.dtype)
    if is_dataclass(result) and not isinstance(result, type):
        return {field.name: specs(getattr(result, field.name)) for field in fields(result)}
    if isinstance(result, dict):
        return {key: specs(item) for key, item in result.items()}
    if isinstance(result, list | tuple):
        return tuple(specs(item) for item in result)
    return result
