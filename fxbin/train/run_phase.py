"""Runs the epochs of a phase of training, with a checkpoint after each."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch import distributed, nn

from fxbin.binarizers.ranks import copy_from_first_rank, rank_count
from fxbin.errors import DataError
from fxbin.staged.batch_norm import reestimate_batch_norm
from fxbin.train.compiled import CompiledSteps
from fxbin.train.data import Data, TrainingBatches
from fxbin.train.distillation import DistillationLoss
from fxbin.train.epoch import train_epoch
from fxbin.train.evaluation import accuracy_over_ranks
from fxbin.train.history import EpochRecord
from fxbin.train.memory_format import channels_last
from fxbin.train.meter import Meter
from fxbin.train.phase import Phase
from fxbin.train.position import Position
from fxbin.train.processes import in_step, strides_ignored
from fxbin.train.progress import TrainingProgress
from fxbin.train.recorder import Recorder


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

    def save(meter: Meter, done: int, used: dict[str, float]) -> None:
        seconds = time.perf_counter() - started
        now = Position.now(
            done, batches.division(), stage, seconds, meter, phase.diagnostics, data.training_counts, used
        )
        recorder.record_position(phase, epoch, now)

    meter, used = train_with_schedule(phase, model, epoch, batches, progress, save)
    phase.position = None
    trained = time.perf_counter() - started
    skipped = report_skipped(phase, before, progress)
    diagnostics = report_diagnostics(phase, progress)
    prepare_evaluation(phase, epoch, batches)
    with trained_epoch_kept(phase):
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


@contextmanager
def trained_epoch_kept(phase: Phase) -> Iterator[None]:
    """Tell with an error in the first evaluation of `phase` that its epoch is saved by then."""
    try:
        yield
    except DataError as error:
        if not phase.has_evaluated:
            error.add_note(
                "The epoch before this evaluation is kept: the same command goes on with the evaluation."
            )
        raise
    phase.has_evaluated = True


def train_with_schedule(
    phase: Phase,
    model: nn.Module,
    epoch: int,
    batches: TrainingBatches,
    progress: TrainingProgress,
    save: Callable[[Meter, int, dict[str, float]], None] = lambda _meter, _done, _used: None,
) -> tuple[Meter, dict[str, float]]:
    """Train one epoch; return its meter, and `lr` and `weight_decay` of the last optimizer step.

    `save` writes a checkpoint within the epoch, and at its end if `phase` has evaluated nothing yet: held-out
    pictures that cannot be used are found then, and must not cost the epoch.
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
    if position is not None and start == len(batches):
        position.restore(phase.diagnostics)
        return position.meter_of_all(), position.used

    def stepped(done: int, made: bool) -> None:
        # Before the schedule switches: the average still belongs to the stage of this step.
        if phase.average is not None and made:
            phase.average.update_parameters(phase.model)
        phase.schedule.step(done / len(batches))
        phase.follow_stage()
        every = phase.checkpoint_every
        if every is not None and done < len(batches) and done % (every * phase.accumulate) == 0:
            save(meters[0], done, used)

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
    if not phase.has_evaluated:
        save(meters[0], len(batches), used)
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
