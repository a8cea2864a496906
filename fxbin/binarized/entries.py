"""Entries of namespaces, whose values are looked up and compared all at once, for speed."""

from collections.abc import Callable, Iterable
from itertools import repeat
from operator import contains, getitem
from types import MappingProxyType
from typing import Any, ClassVar, Self

from fxbin.tracing import MISSING

Entry = tuple[Any, str, Any]
"""A namespace, a name in it, and the value, which may be an object that compares in its own way."""


class Entries:
    """Entries of dicts, and of classes, whose namespaces cannot be written to."""

    _get: ClassVar[Callable[..., Any]] = staticmethod(dict.get)
    _spaces: ClassVar[tuple[type, ...]] = (dict, MappingProxyType)
    """Types of namespaces in which ``space[name]`` and ``name in space`` are the fastest."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = [*entries]
        fast = [entry for entry in entries if type(entry[0]) in self._spaces]
        self._present = _columns(entry for entry in fast if entry[2] is not MISSING)
        self._absent = _columns(entry for entry in fast if entry[2] is MISSING)
        self._others = _columns(entry for entry in entries if type(entry[0]) not in self._spaces)
        self._has_others = bool(self._others[0])

    def __bool__(self) -> bool:
        return bool(self._present[0] or self._absent[0] or self._others[0])

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a copy of a model collects its own

    def are_the_same(self) -> bool:
        """Whether each entry has the same value as at first."""
        try:
            # The first values stand on the left, so that Python asks them whether the others are equal.
            spaces, names, values = self._present
            if not values == [*map(getitem, spaces, names)]:  # noqa: SIM201  (values only define `==`)
                return False
            spaces, names, _ = self._absent
            if any(map(contains, spaces, names)):
                return False
            if self._has_others:
                spaces, names, values = self._others
                return values == [*map(self._get, spaces, names, repeat(MISSING))]
        except Exception:  # noqa: BLE001  (an entry is missing, or values cannot be compared, like arrays)
            return False
        return True


class OfSlots(Entries):
    """Attributes of objects that are in no dict: slots, the value of a closure cell, parts of a partial."""

    _get = staticmethod(getattr)
    _spaces = ()


def _columns(entries: Iterable[Entry]) -> tuple[list[Any], list[str], list[Any]]:
    """The namespaces, the names and the values of `entries`."""
    entries = [*entries]
    return [space for space, _, _ in entries], [name for _, name, _ in entries], [x for _, _, x in entries]
