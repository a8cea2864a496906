"""The content of an NNCF checkpoint, which users save in three forms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fxbin.errors import CheckpointError
from fxbin.nncf.read import read_file

ALGORITHM = "binarization"
"""Key of the algorithm in NNCF's compression state."""

OWN_KEYS = ("state_dict", "compression_state", "epoch")
"""Keys of a checkpoint file that `Content` has fields for."""


@dataclass(frozen=True)
class Content:
    """The parts of a checkpoint."""

    state_dict: dict[str, Tensor] | None
    """Parameters and buffers, under NNCF's keys; None for a file with the compression state alone."""

    epoch: int | None
    """NNCF's `current_epoch`: the epoch that was started last, -1 before the first; None if not recorded."""

    step: int | None
    """NNCF's `current_step`; None if not recorded."""

    next_epoch: int | None
    """The epoch to continue with, as the training script recorded it; None if it did not."""

    rest: dict[str, Any] = field(default_factory=dict)
    """All other entries of the file: `arch`, `best_acc1`, `optimizer`, ..."""


def content_of(source: str | Path | Mapping[str, Any]) -> Content:
    """Split a checkpoint, given as a path or as the dict that `torch.load` returned, into its parts.

    Accepts the file of NNCF's sample scripts, a bare state_dict, and the result of
    ``compression_ctrl.get_compression_state()``. Raises CheckpointError for anything else.
    """
    if isinstance(source, Mapping):
        where, data = "checkpoint", dict(source)
    else:
        where, data = str(source), read_file(source)
    if data and _is_state_dict(data):
        return Content(data, None, None, None)
    if "ctrl_state" in data:
        return Content(None, *_scheduler(data, where), None)
    if "state_dict" not in data:
        raise CheckpointError(
            f'{where}: has the keys {sorted(map(str, data))}, expected "state_dict" (with or without '
            '"compression_state"), a bare state_dict, or a compression state with "ctrl_state"'
        )
    rest = {key: value for key, value in data.items() if key not in OWN_KEYS}
    return Content(
        _state_dict(data["state_dict"], where), *_scheduler(data.get("compression_state"), where),
        _number(data.get("epoch")), rest,
    )  # fmt: skip


def _state_dict(value: object, where: str) -> dict[str, Tensor]:
    if not isinstance(value, Mapping) or not _is_state_dict(value):
        raise CheckpointError(f"{where}: state_dict: expected tensors by name, got a {type(value).__name__}")
    return dict(value)


def _is_state_dict(data: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) and isinstance(value, Tensor) for key, value in data.items())


def _scheduler(state: object, where: str) -> tuple[int | None, int | None]:
    """The epoch and the step in a compression state; None for what is missing."""
    if state is None:
        return None, None
    algorithms = _entry(state, "ctrl_state", f"{where}: compression_state")
    # NNCF stores algorithms by name, as there may be another one, such as knowledge distillation.
    own = _entry(algorithms, ALGORITHM, f"{where}: ctrl_state")
    scheduler = _entry(own, "scheduler_state", f"{where}: {ALGORITHM}")
    return _number(scheduler.get("current_epoch")), _number(scheduler.get("current_step"))


def _entry(value: object, key: str, where: str) -> Mapping[str, Any]:
    entry = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(entry, Mapping):
        found = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise CheckpointError(f'{where}: expected an object with "{key}", got {found}')
    return entry


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
