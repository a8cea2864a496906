"""Notes state that is not in attributes of modules, to see what a forward changes of it."""

import sys
from argparse import Namespace
from array import array
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import nn

from fxbin.original.closures import WEAK, referent, variables
from fxbin.original.contained import values_in
from fxbin.original.mentions import globals_named, package_of
from fxbin.original.reach import HOOKS
from fxbin.original.state_places import Attributes, Globals, Items, Numbers, OfClass, Place
from fxbin.original.value_kinds import ARRAYS, PLAIN, is_foreign, is_object

LARGEST = 2**20
"""Size in bytes up to which the content of an array is compared."""

_ARRAYS: tuple[Any, ...] = (bytearray, array, *ARRAYS)
_CONTAINERS = (dict, list, set, deque)
_SPACES = (SimpleNamespace, Namespace)
_LIBRARIES = frozenset({*sys.stdlib_module_names, "torch", "numpy", "fxbin"}) - {"__main__"}


class Change(NamedTuple):
    """One place whose content is another than in the snapshot."""

    label: str
    """The expression that gives it: ``stats.calls``."""

    is_shared: bool
    """Whether it is a global variable, or belongs to a class or a function, and not to the model alone."""

    value: Any
    """What is there now."""


class StateBeyond:
    """A snapshot of what the code of `modules` may change beyond the attributes of modules.

    That is the content of objects, containers and arrays that modules hold, directly or indirectly, of
    classes, of the variables that functions enclose, and of the global variables that the code names. Code
    of Python's own library, torch and numpy does not count.

    Args:
        modules: the modules whose code runs.
        without: attributes of modules that are looked at elsewhere.
    """

    def __init__(self, modules: Collection[nn.Module], without: Collection[str]) -> None:
        self._places: list[tuple[str, bool, Place]] = []
        self._seen: set[int] = set()
        self._pending: list[tuple[str, Any, bool]] = []
        for module in modules:
            self._pending += [
                (name, value, False)
                for name, value in vars(module).items()
                # Most modules have no hooks, and most attributes are numbers.
                if name not in without and not isinstance(value, PLAIN) and not (name in HOOKS and not value)
            ]
        kinds = dict.fromkeys(kind for module in modules for kind in type(module).__mro__)
        self._pending += [(kind.__name__, kind, True) for kind in kinds]
        while self._pending:
            label, item, is_shared = self._pending.pop()
            if id(item) not in self._seen and not isinstance(item, PLAIN):
                self._seen.add(id(item))
                self._look_into(label, item, is_shared=is_shared)

    def changes(self) -> list[Change]:
        """What is there now that was not there when the snapshot was taken."""
        return [
            Change(f"{label}{inside}", is_shared, value)
            for label, is_shared, place in self._places
            for inside, value in place.changes()
        ]

    def restore(self, *, shared: bool) -> None:
        """Restore the content of what belongs to the model alone, and with `shared`, of everything."""
        for _, is_shared, place in self._places:
            if (shared or not is_shared) and any(True for _ in place.changes()):
                place.restore()

    def _look_into(self, label: str, item: Any, *, is_shared: bool) -> None:
        if isinstance(item, torch.Tensor | nn.Module):
            return
        if isinstance(item, FunctionType):
            self._look_into_function(label, item)
        elif isinstance(item, type):
            self._look_into_class(label, item)
        elif isinstance(item, _ARRAYS):
            size = getattr(item, "nbytes", None)
            if (len(item) if size is None else size) <= LARGEST:
                self._keep(label, Numbers(item), is_shared=is_shared)
        elif isinstance(item, _CONTAINERS):
            self._keep(label, Items(item), is_shared=is_shared)
            self._follow([(label, x) for x in values_in(item)], is_shared=is_shared)
        elif (parts := _parts(item)) is not None:
            self._follow([(label, part) for part in parts], is_shared=is_shared)
        elif is_object(item) and (isinstance(item, _SPACES) or not is_foreign(type(item), _LIBRARIES)):
            self._look_into_object(label, item, is_shared=is_shared)

    def _follow(self, items: Iterable[tuple[str, Any]], *, is_shared: bool) -> None:
        self._pending += [(label, item, is_shared) for label, item in items]

    def _keep(self, label: str, place: Place, *, is_shared: bool) -> None:
        self._places.append((label, is_shared, place))

    def _look_into_object(self, label: str, item: Any, *, is_shared: bool) -> None:
        held = getattr(item, "__dict__", None)
        if isinstance(held, dict):
            self._keep(label, Items(held), is_shared=is_shared)
            self._follow([(f"{label}.{name}", x) for name, x in held.items()], is_shared=is_shared)
        slots = [name for kind in type(item).__mro__ for name in _slots(kind)]
        if slots:
            place = Attributes(item, slots)
            self._keep(label, place, is_shared=is_shared)
            self._follow([(f"{label}.{n}", x) for n, x in place.content.items()], is_shared=is_shared)
        self._follow([(kind.__name__, kind) for kind in type(item).__mro__], is_shared=True)

    def _look_into_function(self, label: str, function: FunctionType) -> None:
        if is_foreign(function, _LIBRARIES):
            return
        self._keep(label, Items(vars(function)), is_shared=True)
        inside = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for cell, held in variables(function):
            # A function that a model holds has variables of its own.
            self._keep(label, Attributes(cell, ["cell_contents"]), is_shared=False)
            inside.append(held)
        self._follow([(label, x) for x in inside], is_shared=False)
        self._look_into_globals(function)

    def _look_into_globals(self, function: FunctionType) -> None:
        spaces: dict[int, tuple[dict[str, Any], list[str]]] = {}
        for space, name in globals_named(function):
            if package_of(space) not in _LIBRARIES:
                spaces.setdefault(id(space), (space, []))[1].append(name)
        for space, found in spaces.values():
            values = [(name, space[name]) for name in found]
            self._keep("", Globals(space, found), is_shared=True)
            self._follow(
                [(name, x) for name, x in values if _package(x) in ("", package_of(space))], is_shared=True
            )

    def _look_into_class(self, label: str, kind: type) -> None:
        if is_foreign(kind, _LIBRARIES):
            return
        place = OfClass(kind)
        self._keep(label, place, is_shared=True)
        self._follow([(f"{label}.{name}", x) for name, x in vars(kind).items()], is_shared=True)


def _parts(item: Any) -> Iterable[Any] | None:
    """What `item` consists of, if it cannot change itself; None if it may."""
    if type(item) in WEAK:
        return (referent(item),)
    if isinstance(item, tuple):
        return item
    if isinstance(item, staticmethod | classmethod | property | MethodType | partial):
        names = ("__func__", "__self__", "fget", "fset", "func", "args", "keywords")
        return [getattr(item, name, None) for name in names]
    return None


def _slots(kind: type) -> Iterator[str]:
    names = vars(kind).get("__slots__", ())
    yield from ([names] if isinstance(names, str) else names)


def _package(item: Any) -> str:
    """The package of a function or class; empty for anything else."""
    return package_of({"__name__": item.__module__}) if isinstance(item, FunctionType | type) else ""
