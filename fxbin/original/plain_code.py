"""Tells whether a module runs the code that its class was published with, or other code."""

import sys
from types import FunctionType

from torch import nn

from fxbin import torch_private

LAYER_METHODS = ("forward", torch_private.CONV_FORWARD)
"""The methods that make up what a layer of torch computes."""


def is_plain(module: nn.Module | None, *kinds: type[nn.Module]) -> bool:
    """Whether `module` computes what one of `kinds`, classes of torch, computes, and nothing else.

    It may be of a subclass that does not override `forward`. It has no forward hooks, and nobody has replaced
    its `forward`: on the module itself (``layer.forward = f``) or on a class (``nn.ReLU.forward = f``).
    """
    return (
        module is not None
        and any(isinstance(module, kind) and runs_code_of(module, kind) for kind in kinds)
        and not any(torch_private.forward_hooks(module))
    )


def runs_code_of(module: nn.Module, kind: type[nn.Module], methods: tuple[str, ...] = LAYER_METHODS) -> bool:
    """Whether the `methods` of `module` are those with which `kind`, a class it is derived from, was defined.

    Methods that neither has do not count, nor do hooks.
    """
    if type(module).__call__ is not nn.Module.__call__:
        return False
    return all(name not in vars(module) and _is_original(type(module), kind, name) for name in methods)


def _is_original(derived: type, kind: type, name: str) -> bool:
    """Whether `derived` has the method `name` from `kind`, or `kind` has it from its bases, as defined there.

    A function that was put into a class later comes from another file, or has another name;
    `functools.wraps` copies the name, but not the global variables.
    """
    owner = next((each for each in derived.__mro__ if name in vars(each)), None)
    if owner is None or owner not in kind.__mro__:
        return owner is None
    function = vars(owner)[name]
    return (
        isinstance(function, FunctionType)
        and function.__globals__ is vars(sys.modules[owner.__module__])
        and function.__qualname__ == f"{owner.__qualname__}.{name}"
        and not hasattr(function, "__wrapped__")
    )
