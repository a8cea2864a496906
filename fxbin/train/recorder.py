"""Keeps what a run has done: its history, checkpoints, and metrics elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fxbin.train.best import BestCheckpoint
from fxbin.train.checkpoint import Checkpoint, rng_state, save_checkpoint
from fxbin.train.history import STAGED, EpochRecord
from fxbin.train.loggers.logger import Logger
from fxbin.train.output_folder import explained
from fxbin.train.phase import Phase
from fxbin.train.position import Position
from fxbin.train.processes import is_first_process
from fxbin.train.progress import TrainingProgress


@dataclass
class Recorder:
    """Keeps the history, writes checkpoints and reports to the progress display."""

    path: Path
    """Path of the checkpoint."""

    config: dict[str, Any]
    """The config of the run, as the checkpoint keeps it."""

    progress: TrainingProgress
    """The display that finished epochs are reported to."""

    history: list[EpochRecord] = field(default_factory=list)
    """Records of all finished epochs, of both phases."""

    loggers: list[Logger] = field(default_factory=list)
    """Where metrics go, from the first process only."""

    config_folder: str | None = None
    """Folder to which paths in `config` are relative, as the checkpoint keeps it; None without such paths."""

    data: dict[str, Any] | None = None
    """What the checkpoint keeps of the data."""

    best: BestCheckpoint | None = None
    """Keeps the checkpoint of the best epoch."""

    why_stopped: Callable[[Sequence[EpochRecord]], str | None] = lambda _history: None
    """Tells, in the stages, why a run with such a history ends before its last epoch; None if it goes on."""

    def is_stopped(self, phase: Phase) -> bool:
        """Whether `phase` ends before its last epoch."""
        return phase.name == STAGED and self.why_stopped(self.history) is not None

    def record(self, phase: Phase, record: EpochRecord) -> None:
        """Save the finished epoch of `record`: after this an interruption cannot lose it.

        Raises CheckpointError if a file cannot be written; the last checkpoint is kept then.
        """
        self.history.append(record)
        if self.is_stopped(phase):
            self.history[-1] = replace(record, stopped_early=True)
        self._save(phase, record.epoch, None)
        if is_first_process():
            with explained(self.path.parent, "The checkpoint of this epoch is kept."):
                if self.best is not None:
                    self.best.update(self.history)
                for logger in self.loggers:
                    logger.add(self.history[-1], len(self.history))
        self.progress.epoch_done(record, phase.epochs)
        if self.is_stopped(phase):
            self.progress.note(self.why_stopped(self.history) or "")

    def record_position(self, phase: Phase, epoch: int, position: Position) -> None:
        """Save where in `epoch` training is: after this an interruption cannot lose it.

        Raises CheckpointError if it cannot be written; the last checkpoint is kept then.
        """
        if phase.sharded is not None:
            phase.sharded.gather()
        self._save(phase, epoch - 1, position)

    def _save(self, phase: Phase, epoch: int, position: Position | None) -> None:
        checkpoint = Checkpoint(
            config=self.config,
            phase=phase.name,
            epoch=epoch,
            model=phase.whole.state_dict(),
            optimizer=phase.optimizer_state(),
            schedule=phase.schedule.state_dict(),
            teacher=phase.teacher.state_dict() if phase.teacher is not None else None,
            rng=rng_state(),
            history=[past.to_dict() for past in self.history],
            teacher_config=phase.teacher_config,
            scaler=phase.step.state_dict() if phase.step is not None else None,
            average=phase.average.state_dict() if phase.average is not None else None,
            config_folder=self.config_folder,
            data=self.data,
            position=None if position is None else vars(position),
        )
        if not is_first_process():
            return
        kept = "The last checkpoint is kept." if self.path.is_file() else "Nothing was saved before."
        with explained(self.path, kept):
            save_checkpoint(checkpoint, self.path)
