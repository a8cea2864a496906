"""The check at the door of everything that takes a transformed model, and the way to one in wrappers."""

from typing import Any

from torch import nn

from fxbin.errors import TransformError
from fxbin.module import BinarizedModule
from fxbin.state import BinarizationState


def transformed(model: nn.Module, function: str) -> BinarizedModule:
    """`model`, which must come from `fxbin.transform`; `function` is named in the error.

    Raises:
        TransformError: it does not, or it is wrapped by something else.
    """
    if isinstance(model, BinarizedModule):
        return model
    wrapped = next((name for name, child in model.named_children() if isinstance(child, BinarizedModule)), "")
    hint = f"; it holds one as `.{wrapped}`" if wrapped else ""
    raise TransformError(
        f"fxbin.{function}: expected a model that fxbin.transform returned, got {type(model).__name__}{hint}"
    )


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
