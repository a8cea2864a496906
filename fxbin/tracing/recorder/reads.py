"""Records the attributes of modules that code reads, and a graph therefore relies on."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin import torch_private
from fxbin.original.inventory import Inventory

_, _, _MODULES = torch_private.REGISTRIES


class MISSING:
    """Stands for the value of an attribute that does not exist. Copies of a class are the class itself."""


@dataclass(frozen=True)
class Read:
    """One attribute of a module, with the value it had during the trace."""

    path: str
    """Qualified name of the module."""

    registry: str
    """Its place: ``"__dict__"``, ``"class"``, ``"nowhere"``, or ``"_parameters"`` and the like for None."""

    name: str

    value: Any
    """The value itself, so that what it holds may have changed since."""

    kind: type | None = None
    """The class that has it, if `registry` is ``"class"``."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Read":
        # A copy of a module has the same classes.
        return self if self.kind is not None else replace(self, value=copy.deepcopy(self.value, memo))


class Reads:
    """The reads of one trace, without submodules and tensors, which graphs look up anew.

    Of tensors in plain attributes, it has those whose content the code has read.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._paths = inventory.module_paths
        self._found: dict[tuple[str, str], Read] = {}
        self.written: set[tuple[nn.Module, str]] = set()
        """The attributes that the code has assigned to so far."""
        self.followed: dict[str, None] = {}
        """Qualified names of the modules whose code the graph contains."""
        self.iterated: dict[str, None] = {}
        """Qualified names of the modules whose submodules the code has read, as `nn.Sequential` does."""

    @property
    def all(self) -> tuple[Read, ...]:
        """All reads, without duplicates."""
        return tuple(self._found.values())

    def follow(self, module: nn.Module) -> None:
        """Note that the code of `module` is traced."""
        if module in self._paths:
            path = self._paths[module]
            self.followed[path] = None
            if "forward" not in vars(module):
                self._note(path, module, "forward", None)

    def note(self, module: nn.Module, name: str, value: Any) -> None:
        """Note that the code has read `value` from ``module.name``."""
        path = self._paths.get(module)
        # By `type`, as `isinstance` would ask a module for its class and so come here again.
        if path is None or issubclass(type(module), torch.jit.ScriptModule):
            return
        if name == _MODULES:
            self.iterated[path] = None
        elif (path, name) not in self._found and (module, name) not in self.written:
            self._note(path, module, name, value)

    def note_content(self, module: nn.Module, name: str) -> None:
        """Note that the code has read what the tensor ``module.name``, a plain attribute, contains."""
        if name in vars(module) and (module, name) not in self.written:
            path = self._paths[module]
            self._found[path, name] = Read(path, "__dict__", name, vars(module)[name])

    def _note(self, path: str, module: nn.Module, name: str, value: Any) -> None:
        attributes = vars(module)
        if name in attributes:
            if not issubclass(type(value), Tensor | nn.Module):
                self._found[path, name] = Read(path, "__dict__", name, value)
            return
        registry = next(
            (registry for registry in torch_private.REGISTRIES if name in attributes[registry]), None
        )
        if registry is not None:
            if value is None:
                self._found[path, name] = Read(path, registry, name, None)
            return
        kind = next((kind for kind in type(module).__mro__ if name in vars(kind)), None)
        if kind is None:
            self._found[path, name] = Read(path, "nowhere", name, MISSING)
        # The forward of a graph module is made anew whenever its graph is another one.
        elif not kind.__module__.startswith("torch.") or (
            name == "forward" and not issubclass(kind, fx.GraphModule)
        ):
            self._found[path, name] = Read(path, "class", name, vars(kind)[name], kind)

    def note_written(self, module: nn.Module, name: str) -> None:
        """Note that the code assigns ``module.name``; later reads give its own value and do not count."""
        self.written.add((module, name))


OF_EACH_MODULE = frozenset(
    {*vars(nn.Module()), "__dict__", "__class__", torch_private.COMPILED_CALL, "forward"} - {_MODULES}
)
"""Attributes that `nn.Module` itself reads in each call, so that they do not count as reads of the code."""
