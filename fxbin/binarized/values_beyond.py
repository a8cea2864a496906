"""Finds plain values outside of modules that code depends on: in objects that modules hold, and globals."""

import logging
from collections.abc import Iterable, Iterator
from enum import Enum
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.tracing import Read

Value = tuple[Any, str, Any]
"""An object, or the namespace of a Python module, with the name of an attribute and its value."""

_PLAIN = (bool, int, float, str, bytes, tuple, Enum, torch.dtype, torch.device, type(None))
"""Types of values that are compared."""

_NO_SETTINGS = (Tensor, nn.Module, type, FunctionType, ModuleType, Enum, logging.Logger)
"""Types whose attributes do not affect what code computes, or are handled elsewhere."""

_DEPTH = 3
"""Number of nested objects that are searched: ``self.config.model.head.scale``."""


def values_of_objects(reads: Iterable[Read]) -> list[Value]:
    """Values in objects that modules hold, such as configs, which the code behind `reads` may have used."""
    reads = [*reads]
    names = _names(read.value for read in reads if read.kind is not None)
    held = {id(read.value): read.value for read in reads if read.registry == "__dict__"}
    return [found for item in held.values() if _is_object(item) for found in _inside(item, names, _DEPTH)]


def values_of_globals(reads: Iterable[Read]) -> list[Value]:
    """Values in global variables of its package, which the code behind `reads` may have used.

    Each is in the namespace of a Python module, or in an object that is in one.
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
    """Yield plain values in `item` whose names are in `names` or in the code of its own methods.

    Objects in `item` are searched as well, `depth` levels in all.
    """
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
    """All names of globals and attributes in the code of `functions`, which may be properties as well."""
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
