"""A phase of training, full precision or staged: epochs that can be stopped after and gone on from."""

import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from fxbin.binarizers.ranks import copy_from_first_rank, rank_count
from fxbin.diagnostics import Diagnostics
from fxbin.staged.batch_norm import reestimate_batch_norm
from fxbin.train.batches import Batches
from fxbin.train.checkpoint import Checkpoint, restore_rng, rng_state, save_checkpoint
from fxbin.train.data import ImageData
from fxbin.train.epoch import Loss, Meter, accuracy_over_ranks, train_epoch
from fxbin.train.history import EpochRecord
from fxbin.train.processes import in_step, is_first_process, strides_ignored
from fxbin.train.progress import TrainingProgress
from fxbin.train.tensorboard import TensorBoardLog


class Schedule(Protocol):
    """What `StagedSchedule` and `CosineSchedule` have in common."""

    @property
    def stage(self) -> str:
        """Name of the current stage."""

    def start_epoch(self, epoch: int) -> None:
        """Before the first batch of `epoch`."""

    def step(self, fraction: float) -> None:
        """After an optimizer step, with the share of the epoch that is done."""

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From checkpoints."""


@dataclass
class Phase:
    """Everything that changes from epoch to epoch, and how far it got."""

    name: str
    """``"pretraining"`` or ``"staged"``."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    loss: Loss
    epochs: int
    accumulate: int = 1
    """Batches an optimizer step."""

    teacher: nn.Module | None = None
    """Kept in the checkpoint, as nothing else would remember it."""

    batch_norm_batches: int = 0
    """Batches to compute BatchNorm statistics anew from before each evaluation."""

    diagnostics: Diagnostics | None = None
    """Watches the model, where it is a transformed one."""

    warned: set[str] = field(default_factory=set)
    """Call sites that a warning was shown for."""

    next_epoch: int = 0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on after the epoch that `checkpoint` was written after."""
        self.model.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.schedule.load_state_dict(checkpoint.schedule)
        restore_rng(checkpoint.rng)
        self.next_epoch = checkpoint.epoch + 1


@dataclass
class Recorder:
    """Keeps the history, writes the checkpoint and tells the progress display."""

    path: Path
    """Of the checkpoint."""

    config: dict[str, Any]
    """The config of the run, as the checkpoint keeps it."""

    progress: TrainingProgress
    history: list[EpochRecord] = field(default_factory=list)
    tensorboard: TensorBoardLog | None = None

    def record(self, phase: Phase, record: EpochRecord) -> None:
        """The epoch of `record` is over: from here on an interruption does not lose it."""
        self.history.append(record)
        checkpoint = Checkpoint(
            config=self.config,
            phase=phase.name,
            epoch=record.epoch,
            model=phase.model.state_dict(),
            optimizer=phase.optimizer.state_dict(),
            schedule=phase.schedule.state_dict(),
            teacher=phase.teacher.state_dict() if phase.teacher is not None else None,
            rng=rng_state(),
            history=[past.to_dict() for past in self.history],
        )
        if is_first_process():
            save_checkpoint(checkpoint, self.path)
        if self.tensorboard is not None:
            self.tensorboard.add(record, len(self.history))
        self.progress.epoch_done(record, phase.epochs)


def run_phase(phase: Phase, data: ImageData, batches: Batches, recorder: Recorder) -> None:
    """Train all epochs of `phase` that are not done yet, with a checkpoint after each."""
    model = in_step(phase.model)
    with strides_ignored():
        for epoch in range(phase.next_epoch, phase.epochs):
            recorder.record(phase, run_epoch(phase, model, epoch, data, batches, recorder.progress))


def run_epoch(
    phase: Phase,
    model: nn.Module,
    epoch: int,
    data: ImageData,
    batches: Batches,
    progress: TrainingProgress,
) -> EpochRecord:
    """Train and evaluate one epoch; `model` is that of `phase`, as it is to be called in training."""
    started = time.perf_counter()
    phase.schedule.start_epoch(epoch)
    # Read now: after the last step the schedule may already stand at the next epoch's stage.
    stage = str(phase.schedule.stage)
    progress.epoch_started(stage, epoch, phase.epochs, len(batches))
    group = phase.optimizer.param_groups[0]
    used = {"lr": group["lr"], "weight_decay": group["weight_decay"]}

    def show(meter: Meter, _done: int) -> None:
        # Before the optimizer step, hence what this batch is trained with.
        used.update(lr=group["lr"], weight_decay=group["weight_decay"])
        progress.batch_done(used["lr"], used["weight_decay"], meter.loss, meter.accuracy)

    meter = train_epoch(
        model,
        batches.epoch(epoch),
        phase.loss,
        phase.optimizer,
        accumulate=phase.accumulate,
        on_batch=show,
        on_step=lambda done: phase.schedule.step(done / len(batches)),
    )
    seen = look(phase, progress)
    if rank_count() > 1:
        # Running statistics are each process's own until the next forward of DistributedDataParallel.
        with torch.no_grad():
            copy_from_first_rank(phase.model.buffers())
    if phase.batch_norm_batches:
        again = islice(batches.epoch(epoch), phase.batch_norm_batches)
        reestimate_batch_norm(phase.model, (x for x, _ in again))
    return EpochRecord(
        phase=phase.name,
        epoch=epoch,
        stage=stage,
        lr=used["lr"],
        weight_decay=used["weight_decay"],
        loss=meter.loss,
        train_accuracy=meter.accuracy,
        test_accuracy=accuracy_over_ranks(phase.model, data.test_x, data.test_y),
        seconds=time.perf_counter() - started,
        diagnostics=seen,
    )


def look(phase: Phase, progress: TrainingProgress) -> dict[str, Any] | None:
    """What the diagnostics have seen in the epoch, if there are any; a warning is shown once a call site."""
    if phase.diagnostics is None:
        return None
    report = phase.diagnostics.report(over_ranks=True)
    for site in report.sites:
        if site.warning is not None and site.name not in phase.warned:
            phase.warned.add(site.name)
            progress.note(f"warning: {site.warning}")
    return report.to_dict()
