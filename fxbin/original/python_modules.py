"""The modules of Python that the code of a model is written in."""

import sys
from collections.abc import Container, Iterable
from types import ModuleType


def python_modules(classes: Iterable[type]) -> list[ModuleType]:
    """The Python modules with the code of `classes`, and the rest of the packages they come from."""
    own = {cls.__module__ for cls in classes}
    packages = {name.partition(".")[0] for name in own}
    return loaded_modules(packages - {"torch", "builtins", "typing", "abc", "fxbin"})


def loaded_modules(packages: Container[str]) -> list[ModuleType]:
    """All modules of `packages` that have been imported."""
    return [module for name, module in sys.modules.items() if name.partition(".")[0] in packages]
