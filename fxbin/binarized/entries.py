"""Entries of namespaces, whose values are looked up and compared all at once, for speed."""

from collections.abc import Callable, Iterable
from itertools import repeat
from operator import getitem
from types import MappingProxyType
from typing import Any, ClassVar, Self

from fxbin.tracing import MISSING

Entry = tuple[Any, str, Any]
"""A namespace, a name in it, and the value, which may be an object that compares in its own way."""


class Entries:
    """Entries of dicts."""

    _get: ClassVar[Callable[..., Any]] = staticmethod(dict.get)

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = [*entries]
        self._present = _Columns(entry for entry in entries if _is_item(*entry))
        self._absent = _Columns(entry for entry in entries if _is_absent(*entry))
        self._others = _Columns(x for x in entries if not (_is_item(*x) or _is_absent(*x)))

    def __bool__(self) -> bool:
        return bool(self._present.names or self._absent.names or self._others.names)

    def are_the_same(self) -> bool:
        """Whether each entry has the same value as at first."""
        present, absent, others = self._present, self._absent, self._others
        try:
            # The first values stand on the left, so that Python asks them whether the others are equal.
            return (
                present.values == [*map(getitem, present.spaces, present.names)]
                and not any(map(dict.__contains__, absent.spaces, absent.names))
                and others.values == [*map(self._get, others.spaces, others.names, repeat(MISSING))]
            )
        except Exception:  # noqa: BLE001  (an entry is missing, or values cannot be compared, like arrays)
            return False


class _Columns:
    """Entries as a list of namespaces, one of names and one of values."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = [*entries]
        self.spaces: list[Any] = [space for space, _, _ in entries]
        self.names = [name for _, name, _ in entries]
        self.values = [value for _, _, value in entries]


def _is_item(space: Any, _: str, value: Any) -> bool:
    """Whether `value` is found by ``space[name]``, which is faster than a method with a default."""
    return type(space) in (dict, MappingProxyType) and value is not MISSING


def _is_absent(space: Any, _: str, value: Any) -> bool:
    """Whether there is nothing, in a dict; that is faster to check than a value."""
    return type(space) is dict and value is MISSING


class Shared(Entries):
    """Entries that a model shares with its copies, such as values of global variables."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class OfClasses(Shared):
    """Methods and other attributes of classes, whose namespaces cannot be written to."""

    _get = staticmethod(MappingProxyType.get)


class OfSlots(Entries):
    """Attributes of objects that are in no dict: slots, the value of a closure cell, parts of a partial."""

    _get = staticmethod(getattr)
