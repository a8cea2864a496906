"""Refuses methods of a model's class that would save or create a network other than the transformed one."""

from collections.abc import Callable
from typing import Any

from torch import nn

from fxbin.errors import TransformError

_LOADING = ("from_pretrained", "load_from_checkpoint")
_SAVING = ("save_pretrained", "push_to_hub")
"""Names of such methods in `huggingface_hub.PyTorchModelHubMixin`, similar classes, and Lightning."""


def refusals(kind: type[nn.Module]) -> dict[str, Any]:
    """Methods for a class derived from `kind` that raise errors in place of methods that only know `kind`.

    Their files are loaded into the plain class, which ignores the state of the binarizers: the result would
    silently be a network in full precision.
    """
    loading = {name: classmethod(_refusal(name, kind)) for name in _LOADING if hasattr(kind, name)}
    return loading | {name: _refusal(name, kind) for name in _SAVING if hasattr(kind, name)}


def _refusal(name: str, kind: type[nn.Module]) -> Callable[..., Any]:
    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise TransformError(
            f"{name}: it knows only the plain {kind.__name__}, and would leave out the binarizers. "
            f"Save model.state_dict() and load it into fxbin.transform(...) of a {kind.__name__}; or "
            f"add {name} to a class of your own, whose __init__ transforms one and holds the result"
        )

    return refuse
