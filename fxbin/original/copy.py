"""Copies a user's model, including models that `copy.deepcopy` alone refuses."""

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin.errors import TransformError
from fxbin.original.closures import rebound
from fxbin.original.contained import values_in
from fxbin.original.value_kinds import PLAIN

_SHARED = (torch.jit.ScriptFunction,)
"""Types of attributes without state that deepcopy refuses: the copy shares them with the original."""


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy of `model`; tensors that autograd computed are copied without their history.

    `torch.nn.utils.weight_norm` and similar functions leave such tensors in modules and compute them again in
    each forward. Functions that refer to the model, such as hooks and a `forward` assigned to an instance,
    refer to the copy instead, which deepcopy alone does not ensure.

    Raises:
        TransformError: something in the model cannot be copied.
    """
    memo = copy_memo(model)
    graph_modules = [module for module in model.modules() if isinstance(module, fx.GraphModule)]
    memo |= {id(module): fx.GraphModule.__new__(type(module)) for module in graph_modules}
    try:
        copied = copy.deepcopy(model, memo)
        for graph_module in graph_modules:
            _fill(memo[id(graph_module)], graph_module, memo)
    except Exception as error:
        raise TransformError(
            f"model: {type(model).__name__} cannot be copied ({error}), and fxbin does not change models in "
            "place; remove the attribute that copy.deepcopy refuses"
        ) from error
    _check_slots(model, memo)
    for module in copied.modules():
        _make_leaves(module)
        for name, value in list(vars(module).items()):
            if not isinstance(value, PLAIN):
                vars(module)[name] = rebound(value, memo)
    return copied


def copy_memo(model: nn.Module) -> dict[int, Any]:
    """A memo for `copy.deepcopy`: for each object in modules that it refuses, by id, what the copy gets."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in _contents(vars(module)):
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
            elif isinstance(value, _SHARED):
                memo[id(value)] = value
    return memo


def _fill(copied: fx.GraphModule, module: fx.GraphModule, memo: dict[int, Any]) -> None:
    """Fill the new graph module `copied` with copies of all attributes of `module`, as for other modules.

    GraphModule's own `__deepcopy__` copies what the graph refers to, but loses mode, name, forward hooks and
    other attributes.
    """
    vars(copied).update({name: copy.deepcopy(value, memo) for name, value in vars(module).items()})
    type(copied).__name__ = type(module).__name__
    copied.graph = copied.graph  # generates its code


def _check_slots(model: nn.Module, copies: dict[int, Any]) -> None:
    """Raise TransformError if the copy lacks a value in `__slots__`: torch copies only `vars` of a module."""
    slots = {kind: _slots(kind) for kind in {type(module) for module in model.modules()}}
    for path, module in model.named_modules():
        copied = copies.get(id(module), module)
        for name in slots[type(module)]:
            if hasattr(module, name) and not hasattr(copied, name):
                raise TransformError(
                    f"model: {path or type(module).__name__} cannot be copied: its class has __slots__, and "
                    f"torch omits what is in them, here {name}, when it copies or pickles a module; remove "
                    "__slots__"
                )


def _slots(kind: type) -> tuple[str, ...]:
    """Names in the `__slots__` of `kind` and its base classes."""
    classes = (vars(owner).items() for owner in kind.__mro__)
    return tuple(name for items in classes for name, value in items if inspect.ismemberdescriptor(value))


def _make_leaves(module: nn.Module) -> None:
    """Turn the parameters of a scripted module into leaves: torch copies them with their autograd history."""
    if isinstance(module, torch.jit.ScriptModule):
        for parameter in module.parameters():
            if not parameter.is_leaf:
                parameter.detach_().requires_grad_()


def _contents(container: Any) -> Iterator[Any]:
    """Yield the values in `container` and in containers inside it."""
    pending, seen = [container], {id(container)}
    while pending:
        value = pending.pop()
        if isinstance(value, dict | list | tuple | set):
            inside = values_in(value)
            pending += [item for item in inside if id(item) not in seen]
            seen.update(map(id, inside))
        else:
            yield value
