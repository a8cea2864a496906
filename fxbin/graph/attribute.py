"""Looks up attributes and submodules of a module by dotted path."""

from typing import Any

from torch import nn


def attribute(module: nn.Module, path: str) -> Any:
    """The value that a ``get_attr`` node of `path` fetches from `module`.

    Raises:
        AttributeError: there is nothing at `path`.
    """
    *modules, name = path.split(".")
    return getattr(module.get_submodule(".".join(modules)), name)


def submodule_at(module: nn.Module, path: str) -> nn.Module | None:
    """The submodule of `module` at the dotted `path`; None if there is none."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None
