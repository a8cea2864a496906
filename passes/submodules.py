"""Adds binarizers and other layers to a module, for passes."""

from torch import nn


def add_beside(module: nn.Module, path: str, submodule: nn.Module) -> None:
    """Add `submodule` at the dotted `path`, in the mode and with the device and dtype of its parent.

    If the parent has no parameters, device and dtype are those of `module`.
    """
    *parents, name = path.split(".")
    parent = module.get_submodule(".".join(parents))
    like = next((p for m in (parent, module) for p in m.parameters() if p.is_floating_point()), None)
    if like is not None:
        submodule.to(like.device, like.dtype)
    parent.add_module(name, submodule.train(parent.training))
