"""Finds the Python modules with the code of a model, and those that this code uses."""

import sys
from collections.abc import Collection, Container, Iterable, Mapping
from functools import cache
from types import FunctionType, ModuleType

_FUNCTIONS = (FunctionType, type(cache(lambda: None)))


def python_modules(classes: Iterable[type]) -> list[ModuleType]:
    """All loaded Python modules of the packages that define `classes`, except torch and fxbin."""
    return _loaded(_packages(classes))


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
    return own - {"torch", "builtins", "typing", "abc", "fxbin"}


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
