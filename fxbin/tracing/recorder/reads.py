"""What code reads of the modules it runs in, and a graph therefore takes for granted."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.original.holdings import Holdings

_, _, _MODULES = torch_private.REGISTRIES


class MISSING:
    """In place of a value: there is no such entry. The class itself, as copies of it are the same."""


@dataclass(frozen=True)
class Read:
    """One entry of what a module holds, as it was while its code was followed."""

    path: str
    """Qualified name of the module."""

    registry: str
    """``"__dict__"``, ``"_parameters"`` and the like where that has None, ``"class"`` or ``"nowhere"``."""

    name: str

    value: Any
    """Containers of plain values are copied, so that a change inside shows."""

    kind: type | None = None
    """The class that has it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Read":
        # Copies of a module are of the same classes.
        return self if self.kind is not None else replace(self, value=copy.deepcopy(self.value, memo))


class Reads:
    """Collects them. Submodules, parameters and buffers do not count, as graphs look them up anew."""

    def __init__(self, holdings: Holdings) -> None:
        self._paths = holdings.module_paths
        self._found: dict[tuple[str, str], Read] = {}
        self.written: set[tuple[nn.Module, str]] = set()
        """The attributes that the code has assigned to so far."""
        self.followed: dict[str, None] = {}
        """Qualified names of the modules whose code a graph stands for."""
        self.iterated: dict[str, None] = {}
        """Those of the modules whose submodules were counted, as by `nn.Sequential`."""

    @property
    def all(self) -> tuple[Read, ...]:
        """Each once."""
        return tuple(self._found.values())

    def follow(self, module: nn.Module) -> None:
        """The code of `module` is recorded."""
        if module in self._paths:
            path = self._paths[module]
            self.followed[path] = None
            if "forward" not in vars(module):
                self._note(path, module, "forward", None)

    def note(self, module: nn.Module, name: str, value: Any) -> None:
        """``module.name`` gave `value`."""
        path = self._paths.get(module)
        # By `type`, as `isinstance` would ask a module for its class and so come here again.
        if path is None or issubclass(type(module), torch.jit.ScriptModule):
            return
        if name == _MODULES:
            self.iterated[path] = None
        elif (path, name) not in self._found and (module, name) not in self.written:
            self._note(path, module, name, value)

    def _note(self, path: str, module: nn.Module, name: str, value: Any) -> None:
        attributes = vars(module)
        if name in attributes:
            if not issubclass(type(value), Tensor | nn.Module):
                is_plain = type(value) in _CONTAINERS and all(isinstance(item, _PLAIN) for item in value)
                kept = copy.copy(value) if is_plain else value
                self._found[path, name] = Read(path, "__dict__", name, kept)
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
        elif not kind.__module__.startswith("torch."):
            self._found[path, name] = Read(path, "class", name, vars(kind)[name], kind)

    def note_written(self, module: nn.Module, name: str) -> None:
        """``module.name`` is assigned by the code: what it reads from there on is its own doing."""
        self.written.add((module, name))


OF_EACH_MODULE = frozenset(
    {*vars(nn.Module()), "__dict__", "__class__", torch_private.COMPILED_CALL, "forward"} - {_MODULES}
)
"""What `nn.Module` itself asks for in each call: nothing that code has read. Submodules it goes through."""

_CONTAINERS = (list, dict, set)
_PLAIN = (bool, int, float, str, tuple)
