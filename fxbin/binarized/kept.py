"""What is kept of a value to notice later that it has changed, in place or by another one in its place."""

from collections.abc import Iterable
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from fxbin import torch_private
from fxbin.original.contained import keys_in

LARGEST = 2**16
"""Size in bytes up to which the content of an array or of a tensor is compared."""


class Same:
    """Equal to one object only, whatever its class takes for equal."""

    __slots__ = ("_item",)

    def __init__(self, item: Any) -> None:
        self._item: Any = item

    def __eq__(self, other: object) -> bool:
        return other is self._item

    __hash__ = None  # type: ignore[assignment]


def told_by_identity(kept: Any) -> Any:
    """The object itself in place of what is equal to it alone, whatever its content."""
    return kept._item if type(kept) is Same else kept


class SameArray(Same):
    """Equal to one numpy array, as long as its content is what it was."""

    __slots__ = ("_bytes",)

    def __init__(self, item: Any) -> None:
        super().__init__(item)
        self._bytes = item.tobytes()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and bool(self._bytes == self._item.tobytes())

    __hash__ = None


class SameTensor(Same):
    """Equal to one tensor, as long as its content is what it was.

    Elsewhere than on the CPU, comparing would wait for the device: there, what counts is whether an operator
    has written to it, which ``tensor.data`` gets round.
    """

    __slots__ = ("_content",)

    def __init__(self, item: Tensor) -> None:
        super().__init__(item)
        self._content = item.detach().clone() if item.is_cpu else _version(item)

    def __eq__(self, other: object) -> bool:
        if not super().__eq__(other):
            return False
        if isinstance(self._content, Tensor):
            return torch.equal(self._content, self._item)
        return self._content == _version(self._item)

    __hash__ = None


class SameHolder(Same):
    """Equal to one container, as long as `content` is equal to it as well."""

    __slots__ = ("_content",)

    def __init__(self, item: Any, content: Any) -> None:
        super().__init__(item)
        self._content = content

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and bool(self._content == other)

    __hash__ = None


class SameItems:
    """Equal to dicts with these items in this order."""

    __slots__ = ("_keys", "_values")

    def __init__(self, keys: Iterable[Any], values: Iterable[Any]) -> None:
        self._keys, self._values = [*keys], [*values]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, dict)
            and self._keys == [*keys_in(other)]
            # Not by the methods of a subclass, which may convert values.
            and self._values == [*map(dict.get, repeat(other), self._keys)]
        )

    __hash__ = None  # type: ignore[assignment]


def by_identity(item: Any) -> Any:
    """What is equal to `item` alone: itself, if its class does not define what is equal."""
    of_class: Any = type(item).__eq__
    return item if of_class is object.__eq__ else Same(item)


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else int(torch_private.version(tensor))
