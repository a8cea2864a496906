"""Writes the metrics of a run for TensorBoard."""

from pathlib import Path

from fxbin.train.history import EpochRecord
from fxbin.train.loggers.logger import LoggerRun, metrics_of


class TensorBoardLog:
    """Writes the metrics of each epoch and of each call site to a folder for ``tensorboard --logdir``.

    `epochs_done` is the number of finished epochs: later entries, of an interrupted run that is resumed, are
    discarded.
    """

    def __init__(self, folder: Path, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=epochs_done + 1)

    @classmethod
    def of_run(cls, run: LoggerRun) -> "TensorBoardLog":
        """Write to the folder ``tensorboard`` of the run."""
        return cls(run.output / "tensorboard", run.epochs_done)

    def add(self, record: EpochRecord, epoch: int) -> None:
        """Write the metrics of one epoch; `epoch` counts from 1 over both phases."""
        for key, value in metrics_of(record).items():
            self._writer.add_scalar(key, value, epoch)
        self._writer.flush()

    def close(self, *, finished: bool = True) -> None:  # noqa: ARG002  (as any logger)
        """Write what is pending and close the file."""
        self._writer.close()
