"""Records of finished epochs: the rows of the progress display, of `report.json` and of the curves."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Protocol

PRETRAINING = "pretraining"
"""Name of the phase, and of its only stage, before `transform`: it trains the full-precision network."""

STAGED = "staged"
"""Name of the phase after `transform`."""


OPTIONAL = {"skipped_steps", "images_per_second", "stopped_early"}
"""Fields that a dict has only if they are not None, so that histories of runs without them stay the same."""


@dataclass(frozen=True)
class EpochRecord:
    """The result of one finished epoch."""

    phase: str
    """`PRETRAINING` or `STAGED`."""

    epoch: int
    """Number of the epoch within its phase, from 0."""

    stage: str
    """``"pretraining"``, or the value of a `Stage`: ``"activations and weights"``."""

    lr: float
    """Learning rate of the last optimizer step, first parameter group."""

    weight_decay: float
    """Weight decay of the last optimizer step, first parameter group."""

    loss: float
    """Mean training loss over the epoch's images: all parts, with their weights."""

    train_accuracy: float
    """Percentage of correct training images, measured while training on them."""

    test_accuracy: float
    """Percentage of correct held-out images, measured after the epoch."""

    seconds: float
    """Duration of training and evaluation together."""

    diagnostics: dict[str, Any] | None = None
    """`DiagnosticsReport.to_dict()` of the epoch's training; None before the stages."""

    label_loss: float | None = None
    """Mean cross entropy with the labels, without its weight; None if an old version trained the epoch."""

    distillation_loss: float | None = None
    """Mean distance to the teacher's predictions, without its weight; None without a teacher."""

    feature_loss: float | None = None
    """Mean distance of the attention maps, summed over the modules, without its weight; None without them."""

    average_accuracy: float | None = None
    """Percentage of correct held-out images of the averaged network; None without an average."""

    skipped_steps: int | None = None
    """Optimizer steps that `precision` ``"float16"`` left out; None in other precisions."""

    images_per_second: float | None = None
    """Images that were trained on in a second, by all processes, without evaluations."""

    stopped_early: bool | None = None
    """True for an epoch after which `early_stop` ended the run."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, which ``EpochRecord(**...)`` takes back."""
        values = asdict(self)
        return {key: value for key, value in values.items() if key not in OPTIONAL or value is not None}


def accuracy_after_stages(history: Iterable[EpochRecord]) -> dict[str, float]:
    """Held-out accuracy after the last epoch of each stage, in the order of the stages.

    >>> record = EpochRecord("staged", 0, "activations", 1e-3, 0.0, 0.5, 80.0, 70.0, 1.0)
    >>> accuracy_after_stages([record])
    {'activations': 70.0}
    """
    return {record.stage: record.test_accuracy for record in history}


class HasStage(Protocol):
    """An epoch that has a stage."""

    @property
    def stage(self) -> str:
        """Name of the stage."""

    @property
    def epoch(self) -> int:
        """Number of the epoch within its phase, from 0."""


def stage_spans(history: Sequence[HasStage]) -> list[tuple[str, int, int]]:
    """Consecutive epochs with the same stage, as (stage, first, last) with positions in `history`."""
    spans = []
    for stage, run in groupby(enumerate(history), key=lambda item: item[1].stage):
        positions = [position for position, _ in run]
        spans.append((stage, positions[0], positions[-1]))
    return spans
