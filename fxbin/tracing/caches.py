"""Functions that remember their results (`functools.cache`), which must not remember those of a trace."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import CellType, FunctionType, ModuleType
from typing import Any
from unittest import mock

_Cached = type(cache(lambda: None))


@contextmanager
def caches_let_be(classes: Iterable[type], modules: Iterable[ModuleType]) -> Iterator[None]:
    """Let functions of `modules` and methods of `classes` run anew, their caches as they were.

    A cache would give tensors of a trace to the next real run, and data to the trace.
    """
    with ExitStack() as stack:
        seen: set[int] = set()
        for owner in (*modules, *classes):
            for name, function in [*vars(owner).items()]:
                if isinstance(function, _Cached):
                    stack.enter_context(mock.patch.object(owner, name, function.__wrapped__))
                for cell, cached in _caches_inside(function, seen):
                    stack.callback(setattr, cell, "cell_contents", cached)
                    cell.cell_contents = cached.__wrapped__
        yield


def _caches_inside(function: Any, seen: set[int]) -> Iterator[tuple[CellType, Any]]:
    """The caches that decorators have put around `function`, each with the variable that holds it."""
    if isinstance(function, staticmethod | classmethod):
        function = function.__func__
    if type(function) is not FunctionType or id(function) in seen:
        return
    seen.add(id(function))
    for cell in function.__closure__ or ():
        try:
            held = cell.cell_contents
        except ValueError:  # a variable that has not been assigned yet
            continue
        if isinstance(held, _Cached):
            yield cell, held
        else:
            yield from _caches_inside(held, seen)
