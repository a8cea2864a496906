"""Places that hold values which code may change, with their content at one moment."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from types import CellType
from typing import Any

from fxbin.original.contained import items_in, values_in
from fxbin.original.value_kinds import PLAIN

_NOTHING = object()


class Place(ABC):
    """Something that holds values, with those that it held when the object was made."""

    content: dict[Any, Any]
    """What it held, by name or index."""

    @abstractmethod
    def now(self) -> dict[Any, Any]:
        """What it holds now, as `content`."""

    @abstractmethod
    def restore(self) -> None:
        """Let it hold `content` again."""

    def changes(self) -> Iterator[tuple[str, Any]]:
        """Yield the names of what is other than it was, as the end of an expression, with the values."""
        now = self.now()
        for key in self.content.keys() | now.keys():
            value = now.get(key, _NOTHING)
            if not _is_same(value, self.content.get(key, _NOTHING)):
                yield self.named(key), value

    def named(self, key: Any) -> str:
        """The end of the expression that gives what `key` names."""
        return f".{key}"


class Items(Place):
    """A dict, list, set or deque. The dict may be that of an object."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self.content = self.now()

    def now(self) -> dict[Any, Any]:
        """What it holds now."""
        kept = self._container
        if isinstance(kept, dict):
            return items_in(kept)
        values = values_in(kept)
        return dict(enumerate(values)) if not isinstance(kept, set) else {id(x): x for x in values}

    def restore(self) -> None:
        """Restore what it held."""
        kept, content = self._container, self.content
        kept.clear()
        if isinstance(kept, dict | set):
            kept.update(content if isinstance(kept, dict) else content.values())
        else:
            kept.extend(content.values())

    def named(self, key: Any) -> str:
        """The end of the expression that gives what `key` names."""
        return f".{key}" if isinstance(self._container, dict) and isinstance(key, str) else ""


class Numbers(Place):
    """An array, or bytes that can change."""

    def __init__(self, numbers: Any) -> None:
        self._numbers, self._copy = numbers, copy.copy(numbers)
        self.content = self.now()

    def now(self) -> dict[Any, Any]:
        """What it holds now."""
        numbers = self._numbers
        return {"": bytes(numbers) if isinstance(numbers, bytearray) else numbers.tobytes()}

    def restore(self) -> None:
        """Restore what it held."""
        self._numbers[... if hasattr(self._numbers, "ndim") else slice(None)] = self._copy

    def named(self, key: Any) -> str:
        """The end of the expression that gives what `key` names."""
        return str(key)


class Attributes(Place):
    """Attributes of an object in ``__slots__``, or the content of a closure cell."""

    def __init__(self, owner: Any, names: Collection[str]) -> None:
        self._owner, self._names = owner, names
        self.content = self.now()

    def now(self) -> dict[Any, Any]:
        """What it holds now."""
        return {name: value for name in self._names if (value := _got(self._owner, name)) is not _NOTHING}

    def restore(self) -> None:
        """Restore what it held."""
        for name in self.now().keys() - self.content.keys():
            delattr(self._owner, name)
        for name, value in self.content.items():
            object.__setattr__(self._owner, name, value)  # also of a frozen dataclass

    def named(self, key: Any) -> str:
        """The end of the expression that gives what `key` names."""
        return "" if isinstance(self._owner, CellType) else super().named(key)


class OfClass(Place):
    """Attributes of a class."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self.content = self.now()

    def now(self) -> dict[Any, Any]:
        """What it holds now."""
        own = vars(self._kind).items()
        return {name: value for name, value in own if not name.startswith(("__", "_abc_"))}

    def restore(self) -> None:
        """Restore what it held."""
        now = self.now()
        for name in now.keys() - self.content.keys():
            delattr(self._kind, name)
        for name, value in self.content.items():
            if now.get(name, _NOTHING) is not value:
                setattr(self._kind, name, value)


class Globals(Place):
    """Global variables."""

    def __init__(self, space: dict[str, Any], names: Collection[str]) -> None:
        self._space, self._names = space, names
        self.content = self.now()

    def now(self) -> dict[Any, Any]:
        """What it holds now."""
        return {name: self._space[name] for name in self._names if name in self._space}

    def restore(self) -> None:
        """Restore what it held."""
        for name in self._names:
            self._space[name] = self.content[name]

    def named(self, key: Any) -> str:
        """The end of the expression that gives what `key` names."""
        return str(key)


def _is_same(value: Any, before: Any) -> bool:
    if value is before:
        return True
    if type(value) is not type(before):
        return False
    if type(value) is tuple:
        return len(value) == len(before) and all(map(_is_same, value, before))
    return isinstance(value, PLAIN) and bool(value == before)


def _got(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name, _NOTHING)
    except ValueError:  # an empty cell
        return _NOTHING
