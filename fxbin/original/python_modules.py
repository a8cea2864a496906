"""Finds the Python modules with the code of a model."""

import sys
from collections.abc import Container, Iterable
from types import ModuleType


def python_modules(classes: Iterable[type]) -> list[ModuleType]:
    """All loaded Python modules of the packages that define `classes`, except torch and fxbin."""
    own = {cls.__module__ for cls in classes}
    packages = {name.partition(".")[0] for name in own}
    return loaded_modules(packages - {"torch", "builtins", "typing", "abc", "fxbin"})


def loaded_modules(packages: Container[str]) -> list[ModuleType]:
    """The Python modules of the top-level `packages` that have been imported."""
    return [module for name, module in sys.modules.items() if name.partition(".")[0] in packages]
