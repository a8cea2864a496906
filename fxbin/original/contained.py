"""What containers hold, read without the methods of their classes, which may load or convert it."""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import Any

from fxbin.original.value_kinds import CONTAINERS


def keys_in(mapping: dict[Any, Any]) -> Iterator[Any]:
    """The keys of a dict, in its order, also of a subclass that iterates over something else.

    A lazy mapping, like those in which transformers lists its models, imports a file for each value.
    """
    kind = OrderedDict if isinstance(mapping, OrderedDict) else dict
    return kind.__iter__(mapping)


def items_in(mapping: dict[Any, Any]) -> dict[Any, Any]:
    """The keys and values of a dict, in its order."""
    return {key: dict.__getitem__(mapping, key) for key in keys_in(mapping)}


def values_in(container: Collection[Any]) -> list[Any]:
    """The values of a dict, or the items of a list, tuple, set or deque."""
    if isinstance(container, dict):
        return [*dict.values(container)]
    kind: Any = next(kind for kind in CONTAINERS if isinstance(container, kind))
    return [*kind.__iter__(container)]
