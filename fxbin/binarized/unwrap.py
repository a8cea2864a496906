"""The check at the door of everything that takes a transformed model, and the way to one in wrappers."""

from typing import Any

from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.state import BinarizationState
from fxbin.errors import TransformError

WRAPPERS = {
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.optim.swa_utils.AveragedModel": "module",
    "lightning.fabric.wrappers._FabricModule": "module",
    "lightning_fabric.wrappers._FabricModule": "module",
}
"""Classes that compute what a module inside them computes, and where they hold it. Names, as whoever has
wrapped a model has imported them, and nobody else need wait for that."""


def transformed(model: nn.Module, function: str) -> BinarizedModule:
    """The model from `fxbin.transform` that `model` is, or that it wraps without computing more.

    Raises:
        TransformError: it is none, or inside something that may compute more; names `function`.
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
    """Where one of `WRAPPERS`, or a class that is made from one and keeps its forward, holds a module."""
    forward = getattr(type(model), "forward", None)
    classes = [cls for cls in type(model).__mro__ if getattr(cls, "forward", None) is forward]
    names = (f"{cls.__module__}.{cls.__qualname__}" for cls in classes)
    return next((WRAPPERS[name] for name in names if name in WRAPPERS), None)


def unwrapped(model: nn.Module) -> nn.Module:
    """The transformed model in DistributedDataParallel or torch.compile; `model` itself if there is none."""
    inner: Any = model
    # Looked up in `vars`, as a compiled model finds attributes of the model in it; and no further than that
    # one, as a user's model may well have a submodule of one of these names.
    while not isinstance(vars(inner).get("binarization"), BinarizationState):
        inner = getattr(inner, "module", getattr(inner, "_orig_mod", None))
        if not isinstance(inner, nn.Module):
            return model
    found: nn.Module = inner
    return found
