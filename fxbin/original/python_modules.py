"""Finds the Python modules with the code of a model, and those that this code uses."""

import inspect
import sys
from collections.abc import Collection, Container, Iterable, Mapping
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

_FUNCTIONS = (FunctionType, type(cache(lambda: None)))


def python_modules(classes: Iterable[type]) -> list[ModuleType]:
    """All loaded Python modules of the packages that define `classes`, except torch and fxbin."""
    return _loaded(_packages(classes))


def namespaces(classes: Collection[type]) -> list[dict[str, Any]]:
    """The global names of the Python modules that `python_modules` finds, and of those it cannot find.

    Code may be loaded without an entry in `sys.modules`, as `torch.hub` does, or under the name of another.
    """
    found = [vars(module) for module in python_modules(classes)]
    known = {*map(id, found)}
    for cls in (cls for cls in classes if cls.__module__.partition(".")[0] not in _LEFT_OUT):
        for member in [*vars(cls).values()]:
            names = getattr(inspect.unwrap(member), "__globals__", None) if callable(member) else None
            if names is not None and id(names) not in known and not _is_left_out(names):
                known.add(id(names))
                found.append(names)
    return found


def _is_left_out(names: dict[str, Any]) -> bool:
    package = str(names.get("__name__")).partition(".")[0]
    return package in _LEFT_OUT or package in sys.stdlib_module_names


def used_modules(classes: Collection[type]) -> list[ModuleType]:
    """The Python modules of the packages of `classes`, and of the packages that these import from."""
    return _loaded(_packages(classes) | _imported_packages(classes))


def _loaded(packages: Container[str]) -> list[ModuleType]:
    loaded: Mapping[str, ModuleType | None] = sys.modules  # None is there for what must not be imported
    found = (module for name, module in loaded.items() if name.partition(".")[0] in packages)
    return [module for module in found if module is not None]


def _packages(classes: Iterable[type]) -> set[str]:
    """The top-level packages that define `classes`."""
    own = {cls.__module__.partition(".")[0] for cls in classes}
    return own - _LEFT_OUT


_LEFT_OUT = frozenset({"torch", "builtins", "typing", "abc", "fxbin"})


def _imported_packages(classes: Iterable[type]) -> set[str]:
    """The top-level packages from which the files that define `classes` import."""
    names = set()
    for file in {cls.__module__ for cls in classes} & sys.modules.keys():
        for value in [*vars(sys.modules[file]).values()]:
            if isinstance(value, ModuleType):
                names.add(value.__name__)
            elif isinstance(value, _FUNCTIONS):
                names.add(value.__module__)
    packages = {name.partition(".")[0] for name in names if name}
    return packages - sys.stdlib_module_names - {"torch", "fxbin"}
