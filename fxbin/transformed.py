"""The check at the door of everything that takes a transformed model."""

from torch import nn

from fxbin.errors import TransformError
from fxbin.module import BinarizedModule


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
