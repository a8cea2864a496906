"""A phase of training, full precision or staged: a sequence of epochs, with a checkpoint after each."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import distributed, nn

from fxbin.binarizers.ranks import copy_from_first_rank, rank_count
from fxbin.diagnostics import Diagnostics
from fxbin.staged.average import StagedAverage
from fxbin.staged.batch_norm import reestimate_batch_norm
from fxbin.train.best import BestCheckpoint
from fxbin.train.checkpoint import Checkpoint, restore_rng, rng_state, save_checkpoint
from fxbin.train.compiled import CompiledSteps
from fxbin.train.data import Data, TrainingBatches
from fxbin.train.distillation import DistillationLoss
from fxbin.train.epoch import Loss, train_epoch
from fxbin.train.evaluation import accuracy_over_ranks
from fxbin.train.history import STAGED, EpochRecord
from fxbin.train.loggers.logger import Logger
from fxbin.train.memory_format import channels_last
from fxbin.train.meter import Meter
from fxbin.train.optimizer_step import OptimizerStep
from fxbin.train.output_folder import explained
from fxbin.train.position import Position
from fxbin.train.previous_stage import PreviousStage
from fxbin.train.processes import in_step, is_first_process, strides_ignored
from fxbin.train.progress import TrainingProgress
from fxbin.train.sharded import ShardedModel, load_optimizer, whole_values


class Schedule(Protocol):
    """The methods that `StagedSchedule` and `CosineSchedule` have in common."""

    @property
    def stage(self) -> str:
        """Name of the current stage."""

    def start_epoch(self, epoch: int) -> None:
        """Prepare for `epoch`; called before its first batch."""

    def step(self, fraction: float) -> None:
        """Update after an optimizer step; `fraction` is the share of the epoch that is done."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state, for a checkpoint."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`, as `state_dict` returned it."""


@dataclass
class Phase:
    """A model with all that its training needs, and the next epoch to train."""

    name: str
    """``"pretraining"`` or ``"staged"``."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    loss: Loss
    epochs: int
    accumulate: int = 1
    """Number of batches per optimizer step."""

    step: OptimizerStep | None = None
    """How steps of `optimizer` are made; without it, in float32 and without limits."""

    sharded: ShardedModel | None = None
    """The shares of `model` that the processes have, if the config asks for FSDP."""

    compiled: bool = False
    """Whether training steps run through `torch.compile`."""

    channels_last: bool = False
    """Whether pictures are laid out channels last, as the model is."""

    teacher: nn.Module | None = None
    """The network that `loss` learns from, if any; its weights are kept in checkpoints only."""

    teacher_config: dict[str, Any] | None = None
    """Config of the run that the teacher comes from, which checkpoints keep; None if it comes from no run."""

    previous_stage: PreviousStage | None = None
    """The teacher, if it is the network of the previous stage."""

    batch_norm_batches: int = 0
    """Number of batches from which BatchNorm statistics are recomputed before each evaluation."""

    average: StagedAverage | None = None
    """The average of the model's parameters, if the config asks for one."""

    average_batches: int = 0
    """Number of batches from which BatchNorm statistics of the average are computed."""

    diagnostics: Diagnostics | None = None
    """Diagnostics of the transformed model; None in the full-precision phase."""

    warned: set[str] = field(default_factory=set)
    """Names of call sites for which a warning was shown, and notes about pictures."""

    next_epoch: int = 0
    """The next epoch to train, from 0."""

    position: Position | None = None
    """Where in the next epoch training goes on; None at its beginning."""

    checkpoint_every: int | None = None
    """Optimizer steps from one checkpoint within an epoch to the next; None for none."""

    @property
    def whole(self) -> nn.Module:
        """The model with all parameters: a copy, as of the last `gather`, if they are divided."""
        return self.model if self.sharded is None else self.sharded.whole

    def evaluated(self) -> AbstractContextManager[nn.Module]:
        """The model to evaluate, with all parameters as they are now; all processes must enter it."""
        return nullcontext(self.model) if self.sharded is None else self.sharded.evaluated()

    def optimizer_state(self) -> dict[str, Any]:
        """The state_dict of the optimizer, with whole tensors; all processes must call it."""
        state = self.optimizer.state_dict()
        whole: dict[str, Any] = state if self.sharded is None else whole_values(state)
        return whole

    def follow_stage(self) -> None:
        """Tell the teacher that the schedule may have switched binarizers."""
        if self.previous_stage is not None:
            self.previous_stage.update()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the state in `checkpoint`, so that training goes on with the next epoch."""
        if self.sharded is None:
            self.model.load_state_dict(checkpoint.model)
            self.optimizer.load_state_dict(checkpoint.optimizer)
        else:
            # The weights were loaded before they were divided.
            load_optimizer(self.optimizer, checkpoint.optimizer)
        self.schedule.load_state_dict(checkpoint.schedule)
        if self.step is not None:
            self.step.load_state_dict(checkpoint.scaler)
        if self.average is not None:
            assert checkpoint.average is not None
            self.average.load_state_dict(checkpoint.average)
        restore_rng(checkpoint.rng)
        self.next_epoch = checkpoint.epoch + 1
        self.position = None if checkpoint.position is None else Position(**checkpoint.position)


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


def run_phase(phase: Phase, data: Data, batches: TrainingBatches, recorder: Recorder) -> None:
    """Train the remaining epochs of `phase`, with a checkpoint after each."""
    model = in_step(phase.model) if phase.sharded is None else phase.model
    steps = CompiledSteps(model) if phase.compiled else None
    with strides_ignored():
        for epoch in range(phase.next_epoch, phase.epochs):
            if recorder.is_stopped(phase):
                return
            if phase.position is None:
                phase.schedule.start_epoch(epoch)
            if steps is not None:
                steps.follow_stage()
                model = steps.model
            record = run_epoch(phase, model, epoch, data, batches, recorder)
            for note in notes_of_all(data):
                if note not in phase.warned:
                    phase.warned.add(note)
                    recorder.progress.note(note)
            recorder.record(phase, record)


def notes_of_all(data: Data) -> list[str]:
    """What all processes have to say about the pictures of the epoch."""
    own = data.epoch_notes()
    if rank_count() == 1:
        return own
    every: list[list[str]] = [own] * rank_count()
    distributed.all_gather_object(every, own)
    return [note for notes in every for note in notes]


def run_epoch(
    phase: Phase,
    model: nn.Module,
    epoch: int,
    data: Data,
    batches: TrainingBatches,
    recorder: Recorder,
) -> EpochRecord:
    """Train and evaluate an epoch that the schedule has started, or what is left of it.

    `model` is that of `phase`, wrapped.
    """
    progress, position, started = recorder.progress, phase.position, time.perf_counter()
    if position is not None:
        batches, started = batches.divided(position.division), started - position.seconds
    phase.follow_stage()
    # Read now: the last step of the epoch may already switch the schedule to the stage of the next one.
    stage = str(phase.schedule.stage) if position is None else position.stage
    progress.epoch_started(stage, epoch, phase.epochs, len(batches))
    before = phase.step.skipped if phase.step is not None else 0

    def save(meter: Meter, done: int) -> None:
        seconds = time.perf_counter() - started
        now = Position.now(done, batches.division(), stage, seconds, meter, phase.diagnostics)
        recorder.record_position(phase, epoch, now)

    meter, used = train_with_schedule(phase, model, epoch, batches, progress, save)
    phase.position = None
    trained = time.perf_counter() - started
    skipped = report_skipped(phase, before, progress)
    diagnostics = report_diagnostics(phase, progress)
    prepare_evaluation(phase, epoch, batches)
    average_accuracy = evaluate_average(phase, epoch, data, batches)
    with phase.evaluated() as network:
        test_accuracy = accuracy_over_ranks(network, data)
    return EpochRecord(
        phase=phase.name,
        epoch=epoch,
        stage=stage,
        lr=used["lr"],
        weight_decay=used["weight_decay"],
        loss=meter.loss,
        train_accuracy=meter.accuracy,
        test_accuracy=test_accuracy,
        seconds=time.perf_counter() - started,
        diagnostics=diagnostics,
        label_loss=meter.parts.get("label"),
        distillation_loss=meter.parts.get("distillation"),
        feature_loss=meter.parts.get("feature"),
        average_accuracy=average_accuracy,
        skipped_steps=skipped,
        images_per_second=round(meter.images / trained, 1),
    )


def train_with_schedule(
    phase: Phase,
    model: nn.Module,
    epoch: int,
    batches: TrainingBatches,
    progress: TrainingProgress,
    save: Callable[[Meter, int], None] = lambda _meter, _done: None,
) -> tuple[Meter, dict[str, float]]:
    """Train one epoch; return its meter, and `lr` and `weight_decay` of the last optimizer step.

    `save` writes a checkpoint within the epoch.
    """
    group = phase.optimizer.param_groups[0]
    used = {"lr": group["lr"], "weight_decay": group.get("weight_decay", 0.0)}

    meters: list[Meter] = []

    def show(meter: Meter, _done: int) -> None:
        meters[:] = [meter]
        # Called before the optimizer step, so these are the values that the step will use.
        used.update(lr=group["lr"], weight_decay=group.get("weight_decay", 0.0))
        progress.batch_done(used["lr"], used["weight_decay"], *meter.glance())

    position = phase.position
    start = 0 if position is None else position.batches

    def stepped(done: int, made: bool) -> None:
        # Before the schedule switches: the average still belongs to the stage of this step.
        if phase.average is not None and made:
            phase.average.update_parameters(phase.model)
        phase.schedule.step(done / len(batches))
        phase.follow_stage()
        every = phase.checkpoint_every
        if every is not None and done < len(batches) and done % (every * phase.accumulate) == 0:
            save(meters[0], done)

    loss, shown = phase.loss, batches.epoch(epoch, start)
    with loss.watching(model) if isinstance(loss, DistillationLoss) else nullcontext():
        meter = train_epoch(
            model,
            channels_last(shown) if phase.channels_last else shown,
            loss,
            phase.optimizer if phase.step is None else phase.step,
            accumulate=phase.accumulate,
            meter=None if position is None else position.restore(phase.diagnostics),
            done=start,
            on_batch=show,
            on_step=stepped,
        )
    return meter, used


def prepare_evaluation(phase: Phase, epoch: int, batches: TrainingBatches) -> None:
    """Give all processes the same buffers, and recompute BatchNorm statistics if `phase` asks for it."""
    if rank_count() > 1:
        # Until the next forward of DistributedDataParallel each process has its own running statistics.
        with torch.no_grad():
            copy_from_first_rank(phase.model.buffers())
    if phase.batch_norm_batches:
        again = islice(batches.epoch(epoch), phase.batch_norm_batches)
        reestimate_batch_norm(phase.model, (x for x, _ in again))


def evaluate_average(phase: Phase, epoch: int, data: Data, batches: TrainingBatches) -> float | None:
    """Held-out accuracy of the average of `phase`, with BatchNorm statistics of its own; None without one."""
    if phase.average is None:
        return None
    network = phase.average.network.eval()
    again = islice(batches.epoch(epoch), phase.average_batches)
    reestimate_batch_norm(network, (x for x, _ in again))
    return accuracy_over_ranks(network, data)


def report_skipped(phase: Phase, before: int, progress: TrainingProgress) -> int | None:
    """Number of steps skipped since there were `before`, with a note; None in a precision that skips none."""
    if phase.step is None or not phase.step.may_skip:
        return None
    skipped = phase.step.skipped - before
    if skipped:
        progress.note(f"float16: {skipped} optimizer steps skipped, as their gradients were not finite")
    return skipped


def report_diagnostics(phase: Phase, progress: TrainingProgress) -> dict[str, Any] | None:
    """The diagnostics of the epoch as a dict, None without diagnostics; each call site warns only once."""
    if phase.diagnostics is None:
        return None
    report = phase.diagnostics.report(over_ranks=True)
    for site in report.sites:
        if site.warning is not None and site.name not in phase.warned:
            phase.warned.add(site.name)
            progress.note(f"warning: {site.warning}")
    return report.to_dict()
