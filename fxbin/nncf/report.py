"""The report of `load_nncf_checkpoint`."""

from dataclasses import dataclass, field
from typing import Any

from fxbin.binarized.state import Stage


@dataclass(frozen=True)
class NNCFCheckpointReport:
    """What `load_nncf_checkpoint` has loaded, and the values that a training loop needs to continue."""

    stage: Stage
    """The stage of the model after loading."""

    loaded: int
    """Number of tensors of the model that were loaded."""

    epoch: int | None
    """The epoch that NNCF started last, from 0; -1 before the first; None if it is not recorded."""

    step: int | None
    """NNCF's count of steps; None if it is not recorded."""

    next_epoch: int | None
    """The epoch to continue with, for `StagedSchedule.start_epoch`; None if it is not recorded."""

    optimizer: dict[str, Any] | None = None
    """The optimizer's state, for its `load_state_dict`.

    Each parameter group also gets the base learning rate and weight decay of the config, for the
    `StagedSchedule` that is built next. None if the file has none, or tensors of other shapes than the model.
    """

    missing: tuple[str, ...] = ()
    """With ``strict=False``: NNCF's keys of tensors that the file lacks."""

    unexpected: tuple[str, ...] = ()
    """With ``strict=False``: keys of the file that have no place in the model."""

    mismatched: tuple[str, ...] = ()
    """With ``strict=False``: keys of the file whose tensors have another shape than the model's."""

    notes: tuple[str, ...] = ()
    """Differences between NNCF and fxbin that affect this model, as sentences."""

    rest: dict[str, Any] = field(default_factory=dict)
    """All other entries of the file: `arch`, `best_acc1`, ..."""
