"""Writes the metrics of a run for TensorBoard."""

from pathlib import Path

from fxbin.errors import ConfigError
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


class TensorBoardLog:
    """Writes the metrics of each epoch and of each call site to a folder for ``tensorboard --logdir``.

    `epochs_done` is the number of finished epochs: later entries, of an interrupted run that is resumed, are
    discarded. Raises ConfigError if TensorBoard is not installed.
    """

    def __init__(self, folder: Path, epochs_done: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "tensorboard: it is not installed: `pip install 'fxbin[tensorboard]'`"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=epochs_done + 1)

    def add(self, record: EpochRecord, epoch: int) -> None:
        """Write the metrics of one epoch; `epoch` counts from 1 over both phases."""
        values = {
            "loss": record.loss,
            "accuracy/train": record.train_accuracy,
            "accuracy/test": record.test_accuracy,
            "lr": record.lr,
            "weight_decay": record.weight_decay,
        }
        parts = {
            "label_loss": record.label_loss,
            "distillation_loss": record.distillation_loss,
            "feature_loss": record.feature_loss,
            "accuracy/average": record.average_accuracy,
        }
        values |= {key: part for key, part in parts.items() if part is not None}
        for site in (record.diagnostics or {}).get("sites", ()):
            # TensorBoard groups by slashes, so the name of the call site comes last and has none.
            name = site["name"].replace("/", ".")
            values |= {f"{key}/{name}": site[key] for key in PER_SITE if site[key] is not None}
        for key, value in values.items():
            self._writer.add_scalar(key, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Write what is pending and close the file."""
        self._writer.close()
