"""Methods of a model's class that would save or make another network than the transformed one."""

from collections.abc import Callable
from typing import Any

from torch import nn

from fxbin.errors import TransformError

_LOADING = ("from_pretrained", "load_from_checkpoint")
_SAVING = ("save_pretrained", "push_to_hub")
"""What `huggingface_hub.PyTorchModelHubMixin` and classes like it call them; Lightning has the other one."""


def refusals(kind: type[nn.Module]) -> dict[str, Any]:
    """For a class made of `kind`: errors in place of those of its methods that know `kind` alone.

    What they write is loaded into the plain class, which passes over all that the binarizers hold: a network
    in full precision, without a word.
    """
    loading = {name: classmethod(_refusal(name, kind)) for name in _LOADING if hasattr(kind, name)}
    return loading | {name: _refusal(name, kind) for name in _SAVING if hasattr(kind, name)}


def _refusal(name: str, kind: type[nn.Module]) -> Callable[..., Any]:
    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise TransformError(
            f"{name}: it knows the plain {kind.__name__}, and would leave out all that makes a transformed "
            f"one. Save model.state_dict() and load it into fxbin.transform(...) of a {kind.__name__}; or "
            f"give {name} to a class of its own, whose __init__ transforms one and holds the result"
        )

    return refuse
