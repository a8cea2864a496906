"""What each epoch did: the rows of the progress display, of `report.json` and of the curves."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

PRETRAINING = "pretraining"
"""Phase and stage name of the epochs before `transform`: they train the teacher."""

STAGED = "staged"
"""Phase name of the epochs after `transform`."""


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch."""

    phase: str
    """`PRETRAINING` or `STAGED`."""

    epoch: int
    """From 0 within its phase."""

    stage: str
    """``"pretraining"``, or the value of a `Stage`: ``"activations and weights"``."""

    lr: float
    """Learning rate of the last optimizer step, first parameter group."""

    weight_decay: float
    loss: float
    """Mean training loss over the epoch's images, distillation included."""

    train_accuracy: float
    """Per cent of the epoch's training images, measured while training on them."""

    test_accuracy: float
    """Per cent of the held-out images, measured after the epoch."""

    seconds: float
    """Training and evaluation together."""

    diagnostics: dict[str, Any] | None = None
    """In the stages: what `DiagnosticsReport.to_dict` gave for the epoch's training."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON and `EpochRecord(**...)` take it."""
        return asdict(self)


def accuracy_after_stages(history: Iterable[EpochRecord]) -> dict[str, float]:
    """Held-out accuracy after the last epoch of each stage, in the order they came.

    >>> record = EpochRecord("staged", 0, "activations", 1e-3, 0.0, 0.5, 80.0, 70.0, 1.0)
    >>> accuracy_after_stages([record])
    {'activations': 70.0}
    """
    return {record.stage: record.test_accuracy for record in history}


def stage_spans(history: Sequence[EpochRecord]) -> list[tuple[str, int, int]]:
    """Runs of epochs with the same stage: (stage, first, last), positions in `history`."""
    spans = []
    for stage, run in groupby(enumerate(history), key=lambda item: item[1].stage):
        positions = [position for position, _ in run]
        spans.append((stage, positions[0], positions[-1]))
    return spans
