"""Replaces attributes of Python modules for the thread that traces a model, and for no other."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from fxbin.tracing.values.active import is_tracing
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.stand_ins import original_of


@contextmanager
def by_thread(module: ModuleType, stand_ins: Mapping[str, Any]) -> Iterator[None]:
    """Let ``module.name`` give a stand-in, made with `standing_for`, in threads that trace a model.

    Other threads get the original; pickle, for example, compares it with the object it writes. Code in
    `module` itself looks names up without attribute access, and gets stand-ins in all threads. A value that
    is assigned to such a name inside the region remains.
    """
    kind: Any = type(module)
    names = vars(module)
    names.update(stand_ins)
    module.__class__ = _kind(kind, frozenset(stand_ins))
    try:
        yield
    finally:
        module.__class__ = kind
        for name, stand_in in stand_ins.items():
            if names.get(name) is stand_in:
                names[name] = original_of(stand_in)


class _Name:
    """A module attribute that gives the stand-in to threads that trace, and the original to others."""

    def __init__(self, name: str) -> None:
        self._name = name

    @speaks_for_user
    def __get__(self, module: ModuleType, kind: Any = None) -> Any:
        try:
            found = module.__dict__[self._name]
        except KeyError:
            raise AttributeError(self._name) from None
        return found if is_tracing() else original_of(found)

    def __set__(self, module: ModuleType, value: Any) -> None:
        module.__dict__[self._name] = value

    @speaks_for_user
    def __delete__(self, module: ModuleType) -> None:
        del module.__dict__[self._name]


@cache
def _kind(base: Any, names: frozenset[str]) -> type[ModuleType]:
    return type(base.__name__, (base,), {name: _Name(name) for name in names})
