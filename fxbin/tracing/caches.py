"""Functions that remember their results (`functools.cache`), which must not remember those of a trace."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import ModuleType
from unittest import mock

_Cached = type(cache(lambda: None))


@contextmanager
def caches_let_be(classes: Iterable[type], modules: Iterable[ModuleType]) -> Iterator[None]:
    """Let functions of `modules` and methods of `classes` run anew, their caches as they were.

    A cache would give tensors of a trace to the next real run, and data to the trace.
    """
    with ExitStack() as stack:
        for owner in (*modules, *classes):
            for name, function in [*vars(owner).items()]:
                if isinstance(function, _Cached):
                    stack.enter_context(mock.patch.object(owner, name, function.__wrapped__))
        yield
