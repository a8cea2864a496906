"""The `state_dict` of a model that the user's own loop has trained, and why it does not fit a config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fxbin.binarized.module import BinarizedModule
from fxbin.errors import CheckpointError
from fxbin.errors.messages import listed
from fxbin.train.tensor_file import load_tensors

WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and `torch.compile` put before every name."""

HINT = "Expected what `torch.save(model.state_dict(), PATH)` writes for what fxbin.transform returned."


def load_own_state(model: BinarizedModule, path: Path) -> None:
    """Load the file `path`, which holds a `state_dict` of a transformed model, into `model`; runs no code.

    Names may begin with those of wrappers, ``module.`` and ``_orig_mod.``.
    Raises CheckpointError if the file is missing, holds something else, or does not fit, with the reason.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist. {HINT}")
    try:
        content = load_tensors(path)
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read: {error}. {HINT}") from error
    state = _unwrapped(_checked(content, path))
    own = model.state_dict()
    _check_names(state, own, path)
    for name, value in state.items():
        if not _is_extra(name) and value.shape != own[name].shape:
            raise CheckpointError(
                f"{path}: {name} has the shape {tuple(value.shape)}, and the model of the config "
                f"{tuple(own[name].shape)}: it is of a model with other sizes or another num_classes."
            )
    model.load_state_dict(state)


def _checked(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}. {HINT}")
    if {"config", "phase", "history"} <= content.keys():
        raise CheckpointError(
            f"--config: {path} is a checkpoint of `fxbin train`, with its own config: leave the option out."
        )
    others = [str(k) for k, value in content.items() if not (isinstance(value, Tensor) or _is_extra(k))]
    if others:
        raise CheckpointError(
            f"{path} holds more than tensors by name: {listed(others)}. {HINT} If one of these is that, save "
            "it alone."
        )
    return content


def _is_extra(name: object) -> bool:
    """Whether `name` is that of what a module's `get_extra_state` returned, which may be anything."""
    return str(name).rpartition(".")[2] == "_extra_state"


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without what wrappers put before every name."""
    names = list(state)
    while prefix := next((w for w in WRAPPERS if names and all(n.startswith(w) for n in names)), None):
        names = [name.removeprefix(prefix) for name in names]
    return dict(zip(names, state.values(), strict=True))


def _check_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    """Raise CheckpointError if the names in `state` are not those of `own`."""
    missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
    if not missing and not unknown:
        return
    parts = []
    if missing:
        parts.append(f"it lacks {listed(missing)}")
    if unknown:
        parts.append(f"it has, beside them, {listed(unknown)}")
    raise CheckpointError(
        f"{path} does not fit the model of the config: {'; '.join(parts)}. {_why(missing, unknown, state)}"
    )


def _why(missing: list[str], unknown: list[str], state: Mapping[str, Tensor]) -> str:
    """The likely reason that names differ."""
    if all(map(_is_of_binarizer, [*missing, *unknown])):
        if not any(map(_is_of_binarizer, state)):
            return "It is of a model that was not transformed. " + HINT
        return (
            "It is of the same model, transformed with other ignored_scopes, target_scopes, mode or parts: "
            "name the config that it was trained with."
        )
    if prefix := _common_prefix(unknown, missing):
        return f"Its names have {prefix!r} before those of the model: save the state_dict of that part alone."
    return "It is of another model: name the config that it was trained with."


def _common_prefix(unknown: list[str], missing: list[str]) -> str:
    """What every name in `unknown` has before one in `missing`; empty if they differ otherwise."""
    for name in missing:
        ends = [other for other in unknown if other.endswith(f".{name}")]
        if ends:
            prefix = ends[0].removesuffix(name)
            return prefix if all(other.startswith(prefix) for other in unknown) else ""
    return ""


def _is_of_binarizer(name: str) -> bool:
    """Whether `name` is below a binarizer, ``conv1.weight_binarizer``; a second one has ``_1`` behind it."""
    return any("_binarizer" in part for part in name.split("."))
