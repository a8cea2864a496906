"""Takes apart and rebuilds the containers that tensors may be in; anything else is a leaf."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

_Size = torch.Size  # while a model is traced, torch.Size is another class


@dataclass(frozen=True)
class Attribute:
    """A key that stands for ``.name`` rather than ``[name]``."""

    name: str


def parts(item: Any) -> dict[Any, Any] | None:
    """The values in `item` by index, key or `Attribute`; None if `item` is not a container.

    Containers are tuples, lists, dicts, slices and dataclasses, and instances of classes derived from them. A
    dataclass that contains itself, such as settings that know their parents, is not a container.
    """
    inside = _inside(item)
    is_safe = inside is None or isinstance(item, tuple | list | dict | slice) or not _comes_back(item, inside)
    return inside if is_safe else None


def _comes_back(item: Any, inside: dict[Any, Any]) -> bool:
    """Whether `item` contains itself, given the values `inside` it."""
    pending = [*inside.values()]
    seen: set[int] = set()
    while pending:
        part = pending.pop()
        if part is item:
            return True
        if id(part) not in seen:
            seen.add(id(part))
            pending += (_inside(part) or {}).values()
    return False


def _inside(item: Any) -> dict[Any, Any] | None:
    # By `type`, because traced values pass for the type that they carry.
    kind: Any = type(item)
    if not _is_container(kind):
        return None
    if issubclass(kind, tuple):
        return dict(enumerate(tuple.__iter__(item)))
    if issubclass(kind, list):
        return dict(enumerate(list.__iter__(item)))
    if issubclass(kind, dict):
        return dict(item.items())
    names = ("start", "stop", "step") if kind is slice else [field.name for field in fields(kind)]
    return {Attribute(name): getattr(item, name) for name in names if hasattr(item, name)}


@lru_cache(maxsize=1024)  # a trace asks ten times per operator, mostly about the same few classes
def _is_container(kind: type) -> bool:
    if issubclass(kind, tuple | list | dict | slice):
        return True
    return is_dataclass(kind) and not issubclass(kind, Tensor | nn.Module)


def rebuilt(item: Any, values: Iterable[Any]) -> Any:
    """A container like `item` with `values` in place of its own, in the same order.

    No code of its class runs, because that might refuse the values, or do more than store them.
    """
    kind, values = type(item), list(values)
    if _is_plain_tuple(kind):
        return tuple(values)
    if kind is list:
        return values
    if kind is slice:
        return slice(*values)
    if hasattr(kind, "n_sequence_fields"):  # the named tuples of torch, such as torch.return_types.max
        return kind(values)
    old = parts(item)
    assert old is not None
    if kind is dict:
        return dict(zip(old, values, strict=True))
    return _filled(item, old, values)


def _filled(item: Any, old: dict[Any, Any], values: list[Any]) -> Any:
    kind = type(item)
    base: Any = next(base for base in _BASES if issubclass(kind, base))
    made = base.__new__(kind, values) if base is tuple else base.__new__(kind)
    attributes = getattr(item, "__dict__", {})
    if attributes is item:  # a dict that is its own __dict__
        made.__dict__ = made
    elif attributes:
        # Some dicts have their values as attributes as well.
        new = {key: value for key, value in zip(old, values, strict=True) if old[key] is attributes.get(key)}
        same = {id(before): value for before, value in zip(old.values(), values, strict=True)}
        for name, value in attributes.items():
            is_part = isinstance(value, Tensor | Hole)
            made.__dict__[name] = new.get(name, same.get(id(value), value) if is_part else value)
    if base is list:
        list.extend(made, values)
    elif base is defaultdict:
        made.default_factory = item.default_factory
    for key, value in zip(old, values, strict=True):
        if base is object:
            object.__setattr__(made, key.name, value)
        elif base not in (tuple, list):
            base.__setitem__(made, key, value)
    return made


_BASES = (OrderedDict, defaultdict, dict, list, tuple, object)


class Hole:
    """Stands for a value of a container that is not known yet."""


class Rebuilt:
    """Makes a container from its values; everything else is taken from the container `template`."""

    def __init__(self, template: Any) -> None:
        self.template = template

    @property
    def __name__(self) -> str:
        return type(self.template).__name__

    def __call__(self, *values: Any) -> Any:
        """A new container with `values`, for one run of a graph."""
        return rebuilt(self.template, values)

    def _identity(self) -> tuple[Any, ...]:
        others = {k: id(v) for k, v in getattr(self.template, "__dict__", {}).items() if type(v) is not Hole}
        return type(self.template), tuple(parts(self.template) or ()), tuple(others.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rebuilt) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


def maker(item: Any) -> tuple[Callable[..., Any], bool]:
    """A callable that makes a container like `item` from its values, and whether it takes them by name.

    It is the class itself, which compilers know, if that only stores the values.
    """
    kind = type(item)
    if is_dataclass(kind) and _is_generated(kind.__init__) and not (issubclass(kind, tuple | list)):
        # Dataclasses that are dicts fill themselves in __post_init__.
        is_plain = not hasattr(kind, "__post_init__") and all(field.init for field in fields(kind))
        if is_plain or issubclass(kind, dict):
            return kind, True
    if hasattr(kind, "_fields") and _is_generated(kind.__new__) and not getattr(item, "__dict__", None):
        return kind, False
    return Rebuilt(rebuilt(item, [Hole() for _ in parts(item) or ()])), False


def _is_generated(function: Any) -> bool:
    """Whether Python has generated `function`, for a dataclass or a named tuple."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == "<string>"


def _is_plain_tuple(kind: type) -> bool:
    """Whether `kind` is tuple, torch.Size, or a class that stands for them while a model is traced."""
    return kind is tuple or issubclass(kind, _Size) or vars(kind).get("_stands_for") is tuple


def map_nested(item: Any, change: Callable[[Any], Any]) -> Any:
    """`item` with `change` applied to each leaf; a container that does not change is kept."""
    kind: type = type(item)
    if not _is_container(kind):
        return change(item)
    if _is_plain_tuple(kind):
        return tuple([map_nested(x, change) for x in tuple.__iter__(item)])
    if kind is list:
        return [map_nested(x, change) for x in item]
    if kind is dict:
        return {key: map_nested(x, change) for key, x in item.items()}
    old = parts(item)
    if old is None:
        return change(item)
    new = [map_nested(x, change) for x in old.values()]
    is_same = all(a is b for a, b in zip(new, old.values(), strict=True))
    return item if is_same else rebuilt(item, new)


def leaves(item: Any) -> Iterator[Any]:
    """Yield the leaves of `item` and of containers in it, in order."""
    pending = [item]
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind is tuple or kind is list:
            pending += item[::-1]
            continue
        inside = parts(item)
        if inside is None:
            yield item
        else:
            pending += reversed(inside.values())
