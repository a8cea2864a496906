"""Finds the transformed model inside wrappers, and checks that functions get one."""

from typing import Any

from torch import nn

from fxbin import torch_private
from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.state import BinarizationState
from fxbin.errors import TransformError

WRAPPERS = {
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    torch_private.COMPILED_MODEL: torch_private.ORIGINAL_MODULE,
    "torch.optim.swa_utils.AveragedModel": "module",
    **dict.fromkeys(torch_private.FABRIC_MODELS, "module"),
}
"""Classes that compute only what the module inside computes, each with the attribute that holds that module.
They are given by name, so that they need not be imported."""


def transformed(model: nn.Module, function: str) -> BinarizedModule:
    """The model from `fxbin.transform` that is `model`, or is inside wrappers that compute nothing else.

    Raises:
        TransformError: there is no such model; the message names `function`.
    """
    inner: Any = model
    while (place := _wrapped_at(inner)) is not None:
        inner = getattr(inner, place)
    if isinstance(inner, BinarizedModule):
        inner.own_code.check_places(inner, function)
        return inner
    children = inner.named_children() if isinstance(inner, nn.Module) else ()
    wrapped = next((name for name, child in children if isinstance(child, BinarizedModule)), "")
    hint = f"; it holds one as `.{wrapped}`" if wrapped else ""
    raise TransformError(
        f"fxbin.{function}: expected a model that fxbin.transform returned, got {type(model).__name__}{hint}"
    )


def _wrapped_at(model: Any) -> str | None:
    """The attribute of `model` with the inner module, if it is one of `WRAPPERS`; None otherwise.

    Subclasses count unless they override forward.
    """
    forward = getattr(type(model), "forward", None)
    classes = [cls for cls in type(model).__mro__ if getattr(cls, "forward", None) is forward]
    names = (f"{cls.__module__}.{cls.__qualname__}" for cls in classes)
    return next((WRAPPERS[name] for name in names if name in WRAPPERS), None)


def unwrapped(model: nn.Module) -> nn.Module:
    """The transformed model in DistributedDataParallel or torch.compile; `model` itself if there is none."""
    inner: Any = model
    # Looked up in `vars`, as a compiled model passes on attributes of the inner one. The search ends at the
    # first transformed model, as a user's model may have a submodule with one of these names.
    while not isinstance(vars(inner).get("binarization"), BinarizationState):
        inner = getattr(inner, "module", getattr(inner, torch_private.ORIGINAL_MODULE, None))
        if not isinstance(inner, nn.Module):
            return model
    found: nn.Module = inner
    return found
