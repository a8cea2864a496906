"""`best.pt`: the checkpoint of the best epoch of the final stage, beside the last one."""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fxbin.config import Config
from fxbin.staged.schedule import is_final_after
from fxbin.train.history import STAGED, EpochRecord


def best_path(checkpoint: Path) -> Path:
    """Path of the best checkpoint beside `checkpoint`, the last one."""
    return checkpoint.with_name("best.pt")


def final_epochs(config: Config, history: Iterable[EpochRecord]) -> list[EpochRecord]:
    """The epochs of `history` after which both activations and weights were binarized."""
    params = config.binarization.params
    return [record for record in history if record.phase == STAGED and is_final_after(params, record.epoch)]


def best_of(config: Config, history: Iterable[EpochRecord]) -> EpochRecord | None:
    """The first of the epochs with the best `best_by` among those of the final stage; None without any."""
    return max(final_epochs(config, history), key=lambda record: metric(config, record), default=None)


def metric(config: Config, record: EpochRecord) -> float:
    """What `best_by` says to compare epochs by."""
    value: float | None = getattr(record, config.best_by)
    assert value is not None
    return value


@dataclass
class BestCheckpoint:
    """Keeps the file of the best epoch of the final stage, as the history tells it.

    Accuracies of earlier stages belong to networks that are not fully binarized, so they do not count. There
    is no state: which epoch is best follows from the history, so a resumed run keeps the same file.
    """

    config: Config
    """The config of the run."""

    checkpoint: Path
    """Path of the last checkpoint."""

    since: int = 0
    """Number of epochs, over both phases, that do not count, as their checkpoint is lost."""

    def resume(self, history: Sequence[EpochRecord]) -> str | None:
        """Compare the file with `history`; return a note if the best epoch so far is lost."""
        best = best_of(self.config, history)
        if best is None:
            return None
        if best is history[-1]:
            # The run may have been killed between the two files.
            self._keep()
            return None
        if best_path(self.checkpoint).is_file():
            return None
        self.since = len(history)
        return (
            f"{best_path(self.checkpoint)} is missing, and with it the best epoch so far ({best.epoch + 1}): "
            "the best of the coming epochs will be kept"
        )

    def update(self, history: Sequence[EpochRecord]) -> None:
        """Make the last checkpoint the best one if its epoch is, after it was written."""
        best = best_of(self.config, history[self.since :])
        if best is history[-1]:
            self._keep()
        elif best is None and not self.since:
            # Left by a run that was started over.
            best_path(self.checkpoint).unlink(missing_ok=True)

    def _keep(self) -> None:
        """Let the best file be what the last checkpoint is; a crash leaves the old or the new one."""
        best = best_path(self.checkpoint)
        if best.exists() and best.samefile(self.checkpoint):
            return
        temporary = best.with_name(f".{best.name}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            try:
                # A second name for the same content: the last checkpoint is replaced, not written over.
                os.link(self.checkpoint, temporary)
            except OSError:
                shutil.copyfile(self.checkpoint, temporary)
            temporary.replace(best)
        finally:
            temporary.unlink(missing_ok=True)
