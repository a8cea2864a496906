"""Names and contents of a model, collected once for all traces of it and of its parts."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.original.caches import Cache, caches_of
from fxbin.original.generators import generator_types, has_own_state
from fxbin.original.python_modules import namespaces, used_modules
from fxbin.original.reach import values_held_by


class Inventory:
    """Names of the modules and tensors of `root`, and the classes, caches and generators of its code.

    It must not outlive any tensor of `root`, whose id might be reused for another tensor.
    """

    def __init__(self, root: nn.Module) -> None:
        parameters, buffers = dict(root.named_parameters()), dict(root.named_buffers())
        tensors = [*parameters.values(), *buffers.values()]
        self.module_paths: dict[nn.Module, str] = {module: path for path, module in root.named_modules()}
        """Qualified name of each module."""
        self.tensor_paths = {
            id(tensor): path
            for path, tensor in [*_plain_tensors(self.module_paths), *buffers.items(), *parameters.items()]
        }
        """Qualified name of each tensor, by id."""
        self.names = frozenset(dir(root))
        """Names of all attributes of `root`."""
        self.parameters = frozenset(parameters)
        """Qualified names of the parameters."""
        self.registered = frozenset(map(id, tensors))
        """Ids of parameters and buffers."""
        self.classes = {cls for module in self.module_paths for cls in type(module).__mro__}
        """Classes of all modules, with their base classes."""
        devices = [tensor.device for tensor in tensors if not tensor.is_meta]
        self.device = devices[0] if devices else torch.device("cpu")
        """Device of the model; the CPU if it has no data, as code that asks will run on a real device."""
        self.is_all_meta = not devices
        """Whether all parameters and buffers are on the meta device."""

    @cached_property
    def caches(self) -> list[Cache]:
        """The cached functions that the code may call."""
        return caches_of((*self._used_modules, *self.classes))

    @cached_property
    def namespaces(self) -> list[dict[str, Any]]:
        """The global names of the Python modules with the code of the model."""
        return namespaces(self.classes)

    @cached_property
    def imported_functions(self) -> list[tuple[dict[str, Any], str, Any]]:
        """The functions of torch in `namespaces`: the namespace, the name in it, and the function."""
        found = (
            (names, name, value)
            for names in self.namespaces
            for name, value in names.items()
            if type(value) in (FunctionType, BuiltinFunctionType)
        )
        return [entry for entry in found if str(entry[2].__module__).partition(".")[0] in ("torch", "None")]

    @cached_property
    def generators(self) -> list[Any]:
        """The random number generators with their own state that the code may use."""
        kinds = generator_types()
        held = values_held_by((*self.module_paths, *self.classes))
        known = (value for module in self._used_modules for value in [*vars(module).values()])
        found = {id(x): x for x in chain(held, known) if issubclass(type(x), kinds) and has_own_state(x)}
        return list(found.values())

    @cached_property
    def _used_modules(self) -> list[ModuleType]:
        return used_modules(self.classes)


def _plain_tensors(module_paths: Mapping[nn.Module, str]) -> Iterator[tuple[str, Tensor]]:
    """Yield paths and tensors of plain attributes, which `nn.Module` does not list."""
    for module, path in module_paths.items():
        prefix = f"{path}." if path else ""
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
