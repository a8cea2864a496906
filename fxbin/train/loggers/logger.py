"""What all loggers have in common: their interface, and the names of metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fxbin.train.history import EpochRecord

PER_SITE = (
    "fired",
    "flipped",
    "scale",
    "threshold",
    "weight_gradient",
    "scale_gradient",
    "threshold_gradient",
)
"""Metrics of each call site, as `DiagnosticsReport.to_dict` names them."""


class Logger(Protocol):
    """Takes the metrics of finished epochs somewhere. One is made for a sitting of a run, by `LoggerRun`."""

    def add(self, record: EpochRecord, epoch: int) -> None:
        """Write the metrics of one epoch; `epoch` counts from 1 over both phases."""

    def close(self, *, finished: bool) -> None:
        """Write what is pending; `finished` is False if the run was interrupted or failed."""


@dataclass(frozen=True)
class LoggerRun:
    """The sitting of a run for which a logger is made."""

    output: Path
    """Folder of the run."""

    config: Mapping[str, Any]
    """The config as JSON values, defaults included."""

    epochs_done: int
    """Number of epochs, over both phases, that earlier sittings have finished: 0 for a new run."""


def metrics_of(record: EpochRecord) -> dict[str, float]:
    """The metrics of an epoch by name; those of a call site are ``"fired/Net.NNCFConv2d[conv].conv2d_0"``."""
    values: dict[str, float | None] = {
        "loss": record.loss,
        "accuracy/train": record.train_accuracy,
        "accuracy/test": record.test_accuracy,
        "lr": record.lr,
        "weight_decay": record.weight_decay,
        "label_loss": record.label_loss,
        "distillation_loss": record.distillation_loss,
        "feature_loss": record.feature_loss,
        "accuracy/average": record.average_accuracy,
        "skipped_steps": record.skipped_steps,
        "images_per_second": record.images_per_second,
    }
    for site in (record.diagnostics or {}).get("sites", ()):
        # TensorBoard groups by slashes, so the name of the call site comes last and has none.
        name = site["name"].replace("/", ".")
        values |= {f"{key}/{name}": site[key] for key in PER_SITE}
    return {key: value for key, value in values.items() if value is not None}
