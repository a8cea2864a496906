"""Functions that remember their results (`functools.cache`), which must not remember those of a trace."""

import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

from fxbin.original.closures import variables
from fxbin.original.python_modules import loaded_modules, python_modules

_Cached = type(cache(lambda: None))
_FUNCTIONS = (_Cached, FunctionType, staticmethod, classmethod)


@dataclass(frozen=True)
class Cache:
    """A function that remembers its results, and where it is."""

    holder: Any
    """A module, a class, or the variable of a decorator."""

    name: str
    cached: Any
    plain: Any
    """The function alone."""


@contextmanager
def caches_let_be(caches: Iterable[Cache]) -> Iterator[None]:
    """Let the functions run anew, their caches as they were.

    A cache would give tensors of a trace to the next real run, and data to the trace. It would also look at
    sizes, to find those of earlier calls (`einops.rearrange`), and so bake them in.
    """
    with ExitStack() as stack:
        for found in caches:
            stack.callback(setattr, found.holder, found.name, found.cached)
            setattr(found.holder, found.name, found.plain)
        yield


def caches_of(classes: Collection[type]) -> list[Cache]:
    """Those of `classes`, of the packages that they come from, and of what they import."""
    seen: set[int] = set()
    found: list[Cache] = []
    for owner in (*used_modules(classes), *classes):
        for name, value in [*vars(owner).items()]:
            if type(value) in _FUNCTIONS:  # most are something else, and there are ten thousands
                found += _caches(owner, name, value, seen)
    return found


def used_modules(classes: Collection[type]) -> list[ModuleType]:
    """Those of the packages that `classes` come from, and of what they import."""
    modules = (*python_modules(classes), *_imported(classes))
    return list({id(module): module for module in modules}.values())


def _imported(classes: Iterable[type]) -> list[ModuleType]:
    """The modules of the packages whose functions are imported where `classes` are written."""
    names = set()
    for home in {cls.__module__ for cls in classes} & sys.modules.keys():
        for value in [*vars(sys.modules[home]).values()]:
            if isinstance(value, ModuleType):
                names.add(value.__name__)
            elif isinstance(value, FunctionType | _Cached):
                names.add(value.__module__)
    packages = {name.partition(".")[0] for name in names if name}
    return loaded_modules(packages - sys.stdlib_module_names - {"torch", "fxbin"})


def _caches(holder: Any, name: str, value: Any, seen: set[int]) -> Iterator[Cache]:
    """`value` if it is one, or those that decorators of it hold."""
    function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if isinstance(function, _Cached):
        plain = function.__wrapped__
        yield Cache(holder, name, value, type(value)(plain) if function is not value else plain)
    elif type(function) is FunctionType and id(function) not in seen:
        seen.add(id(function))
        for cell, held in variables(function):
            yield from _caches(cell, "cell_contents", held, seen)
