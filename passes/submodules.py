"""Adds binarizers and other layers to a module, for passes."""

from collections.abc import Callable

from torch import nn

from fxbin.graph.attribute import submodule_at


def add_beside(module: nn.Module, path: str, make: Callable[[], nn.Module]) -> None:
    """Add the layer that `make` returns at the dotted `path`, unless the graph of another mode has added it.

    It gets the mode, device and dtype of its parent; device and dtype of `module` if that has no parameters.
    """
    if submodule_at(module, path) is not None:
        return
    submodule = make()
    *parents, name = path.split(".")
    parent = module.get_submodule(".".join(parents))
    like = next((p for m in (parent, module) for p in m.parameters() if p.is_floating_point()), None)
    if like is not None:
        submodule.to(like.device, like.dtype)
    parent.add_module(name, submodule.train(parent.training))
