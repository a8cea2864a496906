"""What a model holds, and under which names: found once, for all traces of it and of its parts."""

from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.original.caches import Cache, caches_of, used_modules
from fxbin.original.generators import generator_types, is_of_its_own
from fxbin.original.reach import held_by


class Holdings:
    """The modules and tensors of `root`, by identity.

    It must not outlive a tensor of `root`, whose id might go to another one.
    """

    def __init__(self, root: nn.Module) -> None:
        tensors = [*root.parameters(), *root.buffers()]
        self.module_paths: dict[nn.Module, str] = {module: path for path, module in root.named_modules()}
        self.tensor_paths = {id(tensor): path for path, tensor in _named_tensors(root)}
        self.names = frozenset(dir(root))
        """What the code may call attributes of `root`."""
        self.parameters = frozenset(path for path, _ in root.named_parameters())
        self.registered = frozenset(map(id, tensors))
        """Ids of parameters and buffers."""
        self.classes = {cls for module in self.module_paths for cls in type(module).__mro__}
        # A model without data says "cpu" too: code that asks wants to know where it is going to run.
        devices = [tensor.device for tensor in tensors if not tensor.is_meta]
        self.device = devices[0] if devices else torch.device("cpu")
        self.is_all_meta = not devices

    @cached_property
    def caches(self) -> list[Cache]:
        """What the code remembers from call to call."""
        return caches_of(self.classes)

    @cached_property
    def generators(self) -> list[Any]:
        """What the code may draw random numbers from, that has a state of its own."""
        kinds = generator_types()
        held = held_by((*self.module_paths, *self.classes))
        known = (value for module in used_modules(self.classes) for value in [*vars(module).values()])
        found = {id(x): x for x in chain(held, known) if issubclass(type(x), kinds) and is_of_its_own(x)}
        return list(found.values())


def _named_tensors(root: nn.Module) -> Iterator[tuple[str, Any]]:
    """Parameters, buffers, and tensors that are plain attributes, which `nn.Module` does not list."""
    for path, module in root.named_modules():
        prefix = f"{path}." if path else ""
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
    yield from root.named_buffers()
    yield from root.named_parameters()
