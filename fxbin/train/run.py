"""A training run: loads the data, trains in full precision, transforms, and trains in stages."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers.ranks import rank_count
from fxbin.compiler.transform import transform
from fxbin.config import Config
from fxbin.diagnostics import Diagnostics
from fxbin.staged.average import StagedAverage
from fxbin.staged.parameter_groups import parameter_groups
from fxbin.staged.schedule import StagedSchedule
from fxbin.train.best import BestCheckpoint
from fxbin.train.build import model_of
from fxbin.train.checkpoint import Checkpoint
from fxbin.train.checks import check_before_training
from fxbin.train.cosine import CosineSchedule
from fxbin.train.data import Data, TrainingBatches
from fxbin.train.early_stop import why_stopped
from fxbin.train.history import PRETRAINING, STAGED, EpochRecord
from fxbin.train.label_loss import LabelLoss
from fxbin.train.located import folder_to_keep
from fxbin.train.loggers.choose import open_loggers
from fxbin.train.loggers.logger import LoggerRun
from fxbin.train.loggers.metrics_csv import MetricsCsv
from fxbin.train.only_run import check_unchanged, only_run, stamp
from fxbin.train.optimizer_step import OptimizerStep
from fxbin.train.optimizers import optimizer_of_pretraining, optimizer_of_stages
from fxbin.train.output_folder import earlier_outputs, explained
from fxbin.train.phase import Phase
from fxbin.train.plan import plan_lines
from fxbin.train.previous_stage import PreviousStage
from fxbin.train.processes import is_first_process, own_rank, process_group, restarted_by_torchrun
from fxbin.train.progress import TrainingProgress
from fxbin.train.recorder import Recorder
from fxbin.train.resume import checkpoint_path, plain
from fxbin.train.run_phase import run_phase
from fxbin.train.settings import read_settings
from fxbin.train.sharded import ShardedModel
from fxbin.train.stage_loss import learns_from_previous_stage, loss_of
from fxbin.train.subject import Subject
from fxbin.train.teacher import OwnTeacher


@dataclass(frozen=True)
class Trained:
    """The result of a training run."""

    model: BinarizedModule
    """The binarized network, in eval mode."""

    data: Data
    """The data it was trained and evaluated on."""

    history: tuple[EpochRecord, ...]
    """Records of all epochs, of both phases."""

    config: Config
    """The config, with the image size and the number of classes of the data."""

    seconds: float
    """Duration of all epochs, including those before the run was resumed."""

    average: BinarizedModule | None = None
    """The network with averaged parameters, in eval mode; None if the config does not ask for one."""


def train(
    source: str | Path | Mapping[str, Any] | Config,
    output: Path,
    *,
    restart: bool = False,
    progress: TrainingProgress | None = None,
) -> Trained:
    """Train the model that the config `source` describes, or resume from the checkpoint in `output`.

    The checkpoint is replaced atomically after each epoch, so a run can be stopped at any time; at most the
    current epoch is repeated, with the same numbers. With `checkpoint_every` it is replaced more often.
    `restart` ignores the checkpoint, but not where torchrun has started the processes again after one has
    died. If torchrun starts several processes, each of them trains on its part of every batch.

    Raises ConfigError, DataError, CheckpointError, or whatever FxbinError `transform` raises.
    """
    config = read_settings(source)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    progress = progress or TrainingProgress()
    # torchrun repeats the command, with its options, after a process has died: that run is to go on.
    restart = restart and not restarted_by_torchrun()
    subject, path = Subject(config, output, restart=restart), checkpoint_path(output)
    before = stamp(path)
    # Connected before the checks: processes share the work of looking at the data.
    with process_group(subject.place):
        notes = check_before_training(subject)
        if not is_first_process():
            return _train(subject, notes, output, progress)
        with only_run(output):
            check_unchanged(path, before)
            return _train(subject, notes, output, progress)


def _train(subject: Subject, notes: list[str], output: Path, progress: TrainingProgress) -> Trained:
    config, data, device, resumed = subject.fitted, subject.data, subject.device, subject.resumed
    path = checkpoint_path(output)
    if resumed is not None:
        progress.note(f"resuming {path} {where_in(resumed)} (--restart starts over)")
    for line in [*(f"note: {note}" for note in notes), *plan_lines(config)]:
        progress.note(line)
    history = [EpochRecord(**record) for record in resumed.history] if resumed else []
    recorder = recorder_of(subject, path, progress, history)
    teacher = subject.teacher
    is_teacher = teacher is None and not learns_from_previous_stage(config)
    left = config.pretrain.epochs + config.epochs - len(history)
    earlier = earlier_outputs(output)
    if earlier and left and why_stopped(config, history) is None:
        # Kept, as they may be all that is left of the training before; `fxbin report` tells them apart.
        progress.note(f"note: until the end, these are of an earlier training: {', '.join(earlier)}")
    progress.run_started(left, config.batch_size)
    with logging(config, output, recorder):
        full_precision = pretrain(config, data, device, recorder, resumed, is_teacher=is_teacher)
        teacher = OwnTeacher(full_precision) if teacher is None else teacher
        binarized, average = train_stages(
            config, full_precision, teacher.network, data, recorder, resumed, teacher.config
        )
    seconds = sum(record.seconds for record in recorder.history)
    averaged = average.network.eval() if average is not None else None
    return Trained(binarized.eval(), data, tuple(recorder.history), config, seconds, averaged)


def where_in(resumed: Checkpoint) -> str:
    """Where the run `resumed` was, in words."""
    if resumed.position is None:
        return f"after {resumed.phase} epoch {resumed.epoch + 1}"
    return f"in {resumed.phase} epoch {resumed.epoch + 2}, after {resumed.position['batches']} batches"


def recorder_of(
    subject: Subject, path: Path, progress: TrainingProgress, history: list[EpochRecord]
) -> Recorder:
    """What keeps `history` and the checkpoint at `path`, and the best one beside it."""
    config, written = subject.fitted, subject.written
    best = BestCheckpoint(config, path)
    if history and is_first_process():
        note = best.resume(history)
        if note is not None:
            progress.note(note)
    return Recorder(
        path,
        plain(written),
        progress,
        history,
        config_folder=folder_to_keep(written),
        data=subject.data.kept(),
        best=best,
        why_stopped=partial(why_stopped, config),
    )


@contextmanager
def logging(config: Config, output: Path, recorder: Recorder) -> Iterator[None]:
    """Let the loggers of `config` take the epochs of `recorder` in this block, in the first process."""
    if not is_first_process():
        yield
        return
    table = output / "metrics.csv"
    with explained(
        table, "The last checkpoint is kept." if recorder.history else "Nothing was saved before."
    ):
        recorder.loggers.append(MetricsCsv(table, recorder.history))
    run = LoggerRun(output, plain(config), len(recorder.history))
    with open_loggers(config, run, recorder.loggers):
        yield


def pretrain(
    config: Config,
    data: Data,
    device: torch.device,
    recorder: Recorder,
    resumed: Checkpoint | None,
    *,
    is_teacher: bool = True,
) -> nn.Module:
    """Train the epochs in full precision that `resumed` has not done yet; return the network.

    If `resumed` is in the staged phase, the network gets the weights of the teacher if it is that; otherwise
    its weights are no longer needed.
    """
    model = _network(config, device, pretrained=False if resumed else None)
    if own_rank() > 0:
        # Weights must be the same on all ranks; random numbers such as those of dropout must differ.
        torch.manual_seed(config.seed + own_rank())
    if resumed is not None and resumed.phase == STAGED:
        if is_teacher:
            assert resumed.teacher is not None
            model.load_state_dict(resumed.teacher)
        return model
    settings = config.pretrain
    sharded = shared_out(config, model, resumed)
    optimizer = optimizer_of_pretraining(config, model.parameters())
    phase = Phase(
        PRETRAINING,
        model,
        optimizer,
        CosineSchedule(optimizer, settings.lr, settings.epochs),
        LabelLoss(settings.label_smoothing),
        settings.epochs,
        checkpoint_every=config.checkpoint_every,
        step=step_of(config, optimizer, device),
        sharded=sharded,
        compiled=config.compile,
        channels_last=config.channels_last,
    )
    if resumed is not None:
        phase.restore(resumed)
    # The seeds of the two phases differ, so that they see the images in different orders.
    run_phase(phase, data, batches_of(config, data, 2 * config.seed), recorder)
    return phase.whole.to(device)


def _network(config: Config, device: torch.device, *, pretrained: bool | None) -> nn.Module:
    """The network to train in full precision.

    If the config rewrites it, it is transformed already, so that what is trained is the network that will be
    binarized; its binarizers are off.
    """
    model = model_of(config, pretrained=pretrained).to(device)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return transform(model, config) if config.binarization.rewrites else model


def train_stages(
    config: Config,
    full_precision: nn.Module,
    teacher: nn.Module,
    data: Data,
    recorder: Recorder,
    resumed: Checkpoint | None,
    teacher_config: dict[str, Any] | None = None,
) -> tuple[BinarizedModule, StagedAverage | None]:
    """Transform `full_precision`, unless it is already, and train the epochs that `resumed` has not done.

    Return the result, and the average of its parameters if the config asks for one.
    """
    if isinstance(full_precision, BinarizedModule):
        binarized = copy.deepcopy(full_precision)  # which stays as it is, as the teacher
    else:
        binarized = transform(full_precision, config)
    params, device = config.binarization.params, next(binarized.parameters()).device
    in_stages = resumed if resumed is not None and resumed.phase == STAGED else None
    sharded = shared_out(config, binarized, in_stages)
    optimizer = optimizer_of_stages(config, parameter_groups(binarized))
    phase = Phase(
        STAGED,
        binarized,
        optimizer,
        StagedSchedule(binarized, optimizer),
        loss_of(config, teacher),
        config.epochs,
        params.batch_multiplier,
        step=step_of(config, optimizer, device),
        sharded=sharded,
        compiled=config.compile,
        channels_last=config.channels_last,
        teacher=teacher,
        teacher_config=teacher_config,
        batch_norm_batches=params.batch_norm_batches,
        checkpoint_every=config.checkpoint_every,
        average=StagedAverage(binarized, config.ema.decay) if config.ema is not None else None,
        average_batches=config.ema.batch_norm_batches if config.ema is not None else 0,
    )
    if in_stages is not None:
        phase.restore(in_stages)
    if learns_from_previous_stage(config):
        follow_previous_stage(phase, config, resumed)
    # Shares of weights are no weights whose signs could be compared.
    with Diagnostics(binarized) if sharded is None else nullcontext() as phase.diagnostics:
        run_phase(phase, data, batches_of(config, data, 2 * config.seed + 1), recorder)
    result = phase.whole.to(device)
    assert isinstance(result, BinarizedModule)
    return result, phase.average


def shared_out(config: Config, model: nn.Module, resumed: Checkpoint | None) -> ShardedModel | None:
    """The shares of `model`, with the weights in `resumed`; None unless the config asks for FSDP."""
    if config.parallel == "ddp" or rank_count() == 1:
        return None
    if resumed is not None:
        model.load_state_dict(resumed.model)
    return ShardedModel(model)


def step_of(config: Config, optimizer: torch.optim.Optimizer, device: torch.device) -> OptimizerStep:
    """How the config has steps of `optimizer` made on `device`."""
    is_sharded = config.parallel == "fsdp" and rank_count() > 1
    return OptimizerStep(optimizer, device, config.precision, config.gradient_clip, is_sharded=is_sharded)


def follow_previous_stage(phase: Phase, config: Config, resumed: Checkpoint | None) -> None:
    """Let `phase`, which is restored already, learn from its model as it was in the previous stage."""
    phase.previous_stage = PreviousStage(phase.model)
    if resumed is not None and resumed.phase == STAGED:
        assert resumed.teacher is not None
        phase.previous_stage.network.load_state_dict(resumed.teacher)
    phase.teacher = phase.previous_stage.network
    phase.loss = loss_of(config, phase.previous_stage)


def batches_of(config: Config, data: Data, seed: int) -> TrainingBatches:
    """This process's batches of the training pictures, with batch size and augmentation of the config."""
    return data.training(config, seed, rank=own_rank(), ranks=rank_count())
