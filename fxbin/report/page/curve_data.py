"""Which curves a training gives: what its epochs recorded, grouped into charts."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

Epochs = Sequence[Mapping[str, Any]]
"""One mapping for each epoch: ``stage``, ``diagnostics`` and any numbers, such as ``loss``."""

_LABELS = {
    "test_accuracy": "held-out",
    "train_accuracy": "training",
    "average_accuracy": "averaged network",
    "loss": "training loss",
    "label_loss": "on labels",
    "distillation_loss": "distance to the teacher",
    "feature_loss": "distance of the features",
    "lr": "learning rate",
    "weight_decay": "weight decay",
}
"""Names of known figures in a legend; others are spelled as they are recorded."""

NO_CURVE = {"epoch", "seconds", "stage", "phase", "diagnostics", "stopped_early"}
"""What an epoch may record that is no curve."""

_GROUPS = (
    (re.compile("accuracy|top_?[0-9]"), "accuracy, %"),
    (re.compile("loss"), "loss"),
    (re.compile("^(lr|learning_rate)$"), "learning rate"),
    (re.compile("^weight_decay$"), "weight decay"),
)
"""Which figures share a chart: by their names, and the title of the chart."""


@dataclass(frozen=True)
class Curve:
    """One figure over the epochs."""

    label: str
    """Name in the legend."""

    values: tuple[float | None, ...]
    """Its value in each epoch, which may be NaN or infinite; None where it was not recorded."""

    @property
    def last(self) -> float | None:
        """The last value that was recorded."""
        return next((value for value in reversed(self.values) if value is not None), None)


@dataclass(frozen=True)
class Chart:
    """Figures that share a scale."""

    title: str
    """What they are, with the unit."""

    curves: tuple[Curve, ...]
    """At least one."""


@dataclass(frozen=True)
class StageBand:
    """Consecutive epochs of one stage."""

    stage: str
    """Name of the stage."""

    first: int
    """Position of its first epoch, from 0."""

    last: int
    """Position of its last epoch."""


def charts(epochs: Epochs) -> list[Chart]:
    """The charts of `epochs`: accuracy, loss, firing and flips, learning rate, then whatever else."""
    figures = [key for epoch in epochs for key, value in epoch.items() if _is_number(value)]
    grouped: dict[str, list[Curve]] = {title: [] for _, title in _GROUPS[:2]}
    grouped["firing and flips in training, %"] = _from_diagnostics(epochs)
    grouped |= {title: [] for _, title in _GROUPS[2:]}
    for key in dict.fromkeys(figures):
        if key not in NO_CURVE:
            values = tuple(_number(epoch.get(key)) for epoch in epochs)
            label = _LABELS.get(key, key.replace("_", " "))
            grouped.setdefault(_group(key), []).append(Curve(label, values))
    # The held-out figures come first, as they are what counts.
    for curves in grouped.values():
        curves.sort(key=lambda curve: not curve.label.startswith(("held-out", "test", "val")))
    return [Chart(title, tuple(curves)) for title, curves in grouped.items() if any(map(_has_values, curves))]


def stage_bands(epochs: Epochs) -> list[StageBand]:
    """The stages of `epochs`, in their order."""
    bands = []
    for stage, run in groupby(enumerate(epochs), key=lambda item: str(item[1].get("stage", ""))):
        positions = [position for position, _ in run]
        bands.append(StageBand(stage, positions[0], positions[-1]))
    return bands


def epoch_numbers(epochs: Epochs) -> list[int]:
    """The number of each of `epochs` as the lines of `fxbin train` count them: from 1 within their phase.

    Epochs without a phase are all of one.

    >>> epoch_numbers([{"phase": "pretraining"}, {"phase": "staged"}, {"phase": "staged"}])
    [1, 1, 2]
    """
    counts = Counter[str]()
    numbers = []
    for epoch in epochs:
        phase = str(epoch.get("phase", ""))
        counts[phase] += 1
        numbers.append(counts[phase])
    return numbers


def labelled_epochs(numbers: Sequence[int]) -> list[int]:
    """Positions of the epochs with these `numbers` that a chart of 300 pixels has room to name.

    The first of each phase is among them, and the last of all.

    >>> labelled_epochs([1, 2, 1, 2, 3])
    [0, 1, 2, 3, 4]
    """
    step = max(1, math.ceil(len(numbers) / 8))
    starts = [position for position, number in enumerate(numbers) if number == 1]
    shown = []
    for start, end in pairwise([*starts, len(numbers)]):
        # What would touch the first of the next phase, or the last of all, is left out.
        places = range(start, end, step)
        shown += [position for position in places if position == start or end - position > step // 2]
    return [*dict.fromkeys([*shown, len(numbers) - 1])]


def last_with_diagnostics(epochs: Epochs) -> int | None:
    """Position of the last epoch that has diagnostics; None if none has."""
    return max((position for position, epoch in enumerate(epochs) if epoch.get("diagnostics")), default=None)


def not_finite(epochs: Epochs) -> list[str]:
    """A sentence about each curve that has values that are not finite."""
    numbers, found = epoch_numbers(epochs), []
    for curve in (curve for chart in charts(epochs) for curve in chart.curves):
        where = [
            position
            for position, value in enumerate(curve.values)
            if value is not None and not math.isfinite(value)
        ]
        if where:
            count = sum(value is not None for value in curve.values)
            stage = str(epochs[where[0]].get("stage") or "")
            found.append(
                f"{curve.label}: NaN or infinite in {len(where)} of {count} epochs, first in epoch "
                f"{numbers[where[0]]}{f', stage {stage!r}' if stage else ''}."
            )
    return found


def _from_diagnostics(epochs: Epochs) -> list[Curve]:
    curves = []
    for key, label in (("fired", "activations that fire"), ("flipped", "weights that flip")):
        shares = [_number((epoch.get("diagnostics") or {}).get(key)) for epoch in epochs]
        curves.append(Curve(label, tuple(None if share is None else 100 * share for share in shares)))
    return [curve for curve in curves if _has_values(curve)]


def _group(key: str) -> str:
    return next((title for pattern, title in _GROUPS if pattern.search(key)), key.replace("_", " "))


def _has_values(curve: Curve) -> bool:
    return any(value is not None for value in curve.values)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    return float(value) if _is_number(value) else None
