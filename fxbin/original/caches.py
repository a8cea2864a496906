"""Cached functions (`functools.cache`), whose caches must not be used or filled by a trace."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

from fxbin.original.closures import variables

_Cached = type(cache(lambda: None))
_FUNCTIONS = (_Cached, FunctionType, staticmethod, classmethod)


@dataclass(frozen=True)
class Cache:
    """A cached function, and the attribute that holds it."""

    holder: Any
    """A Python module, a class, or a closure cell of a decorator."""

    name: str
    """Attribute of `holder`."""

    cached: Any
    """The cached function."""

    plain: Any
    """The function without a cache."""


@contextmanager
def caches_disabled(caches: Iterable[Cache]) -> Iterator[None]:
    """Replace cached functions by the plain ones; their caches do not change.

    A cache would return tensors of a trace in the next real run, and data in the trace. It would also compare
    sizes with those of earlier calls (`einops.rearrange`), and so make them constants of the graph.
    """
    with ExitStack() as stack:
        for found in caches:
            stack.callback(setattr, found.holder, found.name, found.cached)
            setattr(found.holder, found.name, found.plain)
        yield


def caches_of(owners: Iterable[type | ModuleType]) -> list[Cache]:
    """The cached functions that `owners`, classes and Python modules, hold."""
    seen: set[int] = set()
    found: list[Cache] = []
    for owner in owners:
        for name, value in [*vars(owner).items()]:
            if type(value) in _FUNCTIONS:  # true for few of tens of thousands
                found += _caches(owner, name, value, seen)
    return found


def _caches(holder: Any, name: str, value: Any, seen: set[int]) -> Iterator[Cache]:
    """Yield ``holder.name``, which is `value`, if it is a cached function; else those in its closure."""
    function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if isinstance(function, _Cached):
        plain = function.__wrapped__
        yield Cache(holder, name, value, type(value)(plain) if function is not value else plain)
    elif type(function) is FunctionType and id(function) not in seen:
        seen.add(id(function))
        for cell, held in variables(function):
            yield from _caches(cell, "cell_contents", held, seen)
