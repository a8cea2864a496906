"""Plain values that code goes by and that no module has: those of objects that modules hold, and globals."""

import logging
from collections.abc import Iterable, Iterator
from enum import Enum
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.tracing import Read

Value = tuple[Any, str, Any]
"""An object or a module of Python that has attributes, the name of one, and what it is."""

_PLAIN = (bool, int, float, str, bytes, tuple, Enum, torch.dtype, torch.device, type(None))
_NO_SETTINGS = (Tensor, nn.Module, type, FunctionType, ModuleType, Enum, logging.Logger)
"""What has attributes that say nothing about what code computes, or are looked at elsewhere."""
_DEPTH = 3
"""How many objects inside of each other are gone through: ``self.config.model.head.scale``."""


def values_of_objects(reads: Iterable[Read]) -> list[Value]:
    """What the code that has made `reads` may have read of objects that modules hold, such as configs."""
    reads = [*reads]
    names = _names(read.value for read in reads if read.kind is not None)
    held = {id(read.value): read.value for read in reads if read.registry == "__dict__"}
    return [found for item in held.values() if _is_object(item) for found in _inside(item, names, _DEPTH)]


def values_of_globals(reads: Iterable[Read]) -> list[Value]:
    """What the code that has made `reads` may have read of global variables of its package.

    Values are those of the namespace of a module of Python, or of objects that are in one.
    """
    found: dict[tuple[int, str], Value] = {}
    pending = [read.value for read in reads if isinstance(read.value, FunctionType)]
    seen = set(pending)
    while pending:
        function = pending.pop()
        space, names = function.__globals__, _names([function])
        package = _package(space)
        for name in names & space.keys():
            value = space[name]
            if isinstance(value, _PLAIN):
                found[id(space), name] = (space, name, value)
            elif isinstance(value, FunctionType) and value not in seen:
                if _package(value.__globals__) == package:
                    seen.add(value)
                    pending.append(value)
            elif _is_object(value) or (isinstance(value, ModuleType) and _package(vars(value)) == package):
                inside = _inside(value, names, _DEPTH)
                found |= {(id(owner), key): (owner, key, item) for owner, key, item in inside}
    return [*found.values()]


def _inside(item: Any, names: set[str], depth: int) -> Iterator[Value]:
    """The plain values that `item` has by some of `names`, or by names that its own methods mention."""
    names = names | _names(method for kind in type(item).__mro__ for method in vars(kind).values())
    for name in names & vars(item).keys():
        value = vars(item)[name]
        if isinstance(value, _PLAIN):
            yield item, name, value
        elif depth > 1 and _is_object(value):
            yield from _inside(value, names, depth - 1)


def _is_object(item: Any) -> bool:
    """Whether `item` is an object that may hold settings."""
    return (
        hasattr(item, "__dict__")
        and not isinstance(item, _NO_SETTINGS)
        and type(item).__module__.partition(".")[0] not in ("torch", "typing")
    )


def _package(space: dict[str, Any]) -> str:
    return str(space.get("__name__", "")).partition(".")[0]


def _names(functions: Iterable[Any]) -> set[str]:
    """All global names and attributes that the code of `functions` mentions; of properties, too."""
    found: set[str] = set()
    pending = [
        function.__code__
        for item in functions
        for function in (item, *(getattr(item, part, None) for part in ("fget", "__func__", "func")))
        if isinstance(function, FunctionType)
    ]
    while pending:
        code = pending.pop()
        found.update(code.co_names)
        pending += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return found
