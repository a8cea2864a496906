"""What `load_nncf_checkpoint` did."""

from dataclasses import dataclass, field
from typing import Any

from fxbin.binarized.state import Stage


@dataclass(frozen=True)
class NNCFCheckpointReport:
    """What was restored, and what a training loop needs to go on."""

    stage: Stage
    """The stage of the model now."""

    loaded: int
    """How many tensors of the model were loaded."""

    epoch: int | None
    """The epoch that NNCF began last, from 0; -1 before the first; None if the file does not say."""

    step: int | None
    """NNCF's count of steps."""

    next_epoch: int | None
    """What to hand to `StagedSchedule.start_epoch` to go on; None if the file does not say."""

    optimizer: dict[str, Any] | None = None
    """The optimizer's state, for its `load_state_dict`. Beside learning rate and weight decay of that moment
    it has those of the config, for the `StagedSchedule` that is made next. None where tensors of the file
    have other shapes than the model's."""

    missing: tuple[str, ...] = ()
    """With ``strict=False``: NNCF's keys of what the model has and the file has not."""

    unexpected: tuple[str, ...] = ()
    """With ``strict=False``: keys of the file that the model has no place for."""

    mismatched: tuple[str, ...] = ()
    """With ``strict=False``: keys of the file whose tensors have another shape than the model's."""

    notes: tuple[str, ...] = ()
    """What works out differently here."""

    rest: dict[str, Any] = field(default_factory=dict)
    """What else was in the file: `arch`, `best_acc1`, ..."""
