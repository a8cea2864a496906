"""Checks that the code of a model can be traced at all, before `transform` starts."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from fxbin import torch_private
from fxbin.errors import TransformError


def check_model(model: Any) -> None:
    """Raise TransformError, which says what to do, if `model` is of a kind that cannot be transformed."""
    why = _why_not(model)
    if why:
        raise TransformError(f"model: {why}")


def checked_leaf_modules(classes: Any) -> tuple[type[nn.Module], ...]:
    """`classes` as a tuple. Raises TransformError if it is not a sequence of classes of modules."""
    if isinstance(classes, type):
        classes = (classes,)
    kinds = tuple(classes) if isinstance(classes, Iterable) and not isinstance(classes, str) else (classes,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise TransformError(
                "leaf_modules: expected classes of modules, such as (torch.nn.MultiheadAttention,), got "
                f"{kind!r}"
            )
    return kinds


def _why_not(model: Any) -> str:
    """Why `model` cannot be transformed; empty if it can."""
    if not isinstance(model, nn.Module):
        return f"expected a torch.nn.Module, got {type(model).__name__}"
    if isinstance(model, torch.jit.ScriptModule):
        return "it was compiled by torch.jit, and its code is no longer Python; transform the original model"
    if torch_private.ORIGINAL_MODULE in dict(model.named_children()):
        return (
            "it was compiled by torch.compile; transform the original model, and compile the transformed one"
        )
    if type(type(model)).__module__.startswith("torch.export."):
        return "it is a result of torch.export, for one mode and its inputs; transform the original model"
    tensors = chain(model.named_parameters(), model.named_buffers())
    lazy = next((name for name, tensor in tensors if is_lazy(tensor)), None)
    if lazy is not None:
        return f"{lazy} has no shape yet; call the model once, so that its lazy layers get theirs"
    return ""
