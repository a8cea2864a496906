"""The staged schedule: binarization, learning rate and weight decay as functions of the epoch."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fxbin.binarized.state import BinarizationState, Stage, epoch_text
from fxbin.binarized.unwrap import transformed, unwrapped
from fxbin.binarizers import synchronize
from fxbin.config import Config, Params, load_config
from fxbin.errors import ConfigError, TransformError
from fxbin.staged.check import EpochWatch, check_optimizers, optimizers_of
from fxbin.staged.lr_decay import LR_DECAYS
from fxbin.staged.progress import check_progress, set_progress
from fxbin.staged.schedule_state import ScheduleState, stages_of
from fxbin.staged.sharding import check_sharding
from fxbin.staged.weight_clip import WeightClip

ASSUMED_STEP = 0.01
"""Length of a step, in epochs, until the first call of `StagedSchedule.step` tells it."""


def stage_at(params: Params, epoch: float) -> Stage:
    """The stage at the start of `epoch`. What the config starts at epoch 2 has begun if ``epoch >= 2``."""
    return _stage(params, epoch, 0.0)


def is_final_after(params: Params, epoch: float) -> bool:
    """Whether activations and weights are binarized at the end of `epoch`, as they will be until the end."""
    return all(_binarized(params, epoch, 1.0))


def lr_factor(params: Params, epoch: float, fraction: float, step_length: float) -> float:
    """Factor on the base learning rates at ``epoch + fraction``; a step takes `step_length` of an epoch.

    It is 1 before a decay, and the last one of a decay after it.
    """
    decay = _decay(params, epoch, fraction)
    if decay is None:
        return 1.0
    start, duration = decay
    # A step may be longer than the whole decay, and must not raise the learning rate then.
    remaining = max(start + duration - (epoch + fraction), min(step_length, duration))
    return LR_DECAYS[params.lr_schedule](remaining / duration)


class StagedSchedule:
    """Takes a transformed model and its optimizer through the stages of its config.

        schedule = StagedSchedule(model, optimizer)
        for epoch in range(90):
            schedule.start_epoch(epoch)
            for i, batch in enumerate(loader):
                ...
                optimizer.step()
                schedule.step((i + 1) / len(loader))

    With e = epoch + fraction:

    * activations are binarized if e >= `activations_quant_start_epoch`, weights likewise. A stage that begins
      at the start of an epoch begins in `start_epoch`, so a validation after ``step(1.0)`` still sees the
      stage of the finished epoch;
    * if e >= `lr_poly_drop_start_epoch`, lr = base lr * r ** 2.1, where r is the remaining share of the
      decay, ``(start + duration - e) / duration``. With `lr_schedule` ``"cosine"`` the factor is
      (1 + cos(pi * (1 - r))) / 2, with ``"linear"`` it is r. At the end of the decay and later, r is
      one step (the smallest fraction above 0 that `step` has seen), so the last value stays, as in NNCF 2.9.
      Before the decay, the learning rate is left alone: you may use a scheduler of your own until then. With
      `lr_per_stage`, it also decays from the start of each earlier stage to that of the next one;
    * if the config has `weights.clip`, `step` clamps the latent weights that are binarized;
    * weight decay is 0 if e > `disable_wd_start_epoch`, strictly greater, as in NNCF.

    Going back in epochs undoes each of them. The base values belong to each parameter group: `initial_lr`, as
    in torch's schedulers, and `initial_weight_decay`. All values follow from e; nothing changes before the
    first `start_epoch` or `load_state_dict`.

    Args:
        model: the model that `fxbin.transform` returned, also wrapped, as in `DistributedDataParallel`.
        optimizer: the optimizer of its parameters, as made with `fxbin.parameter_groups`; if several share
            them, all: ``StagedSchedule(model, [first, second])``.
        config: another config, of which the schedule is taken: a dict, a file or a `Config`; None takes the
            one with which the model was transformed.
        followers: copies of the model whose parameters, but not buffers, are averages of its own, such as
            target networks of self-supervised learning: they are switched together with the model. Averages
            that include buffers, such as `torch.optim.swa_utils.AveragedModel`, switch by themselves.

    Source: the sample training loop of NNCF 2.9 (staged quantization); the config keys are in `Params`.
    Errors: TransformError if the model was not transformed, or is sharded in a way that cannot train, or if
            an optimizer has none of its parameters or is not an optimizer.
    Warns:  about scales, thresholds and binarized weights that are in no optimizer; at the start of an epoch,
            if the one before did not train the model, or ran no training batch through some call sites.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer],
        config: Config | Mapping[str, Any] | str | Path | None = None,
        *,
        followers: Iterable[nn.Module] = (),
    ) -> None:
        self._state = _binarization_of(model)
        self._followers = [_binarization_of(follower) for follower in followers]
        for follower in self._followers:
            follower.check_follows(self._state)
        check_sharding(model)
        self._optimizers = optimizers_of(optimizer)
        check_optimizers(model, self._optimizers)
        self.optimizer = optimizer
        config = self._state.config if config is None else load_config(config)
        self.params: Params = config.binarization.params
        check_progress(self._state, self.params)
        largest = config.binarization.weights.clip
        self._clip = None if largest is None else WeightClip(transformed(unwrapped(model), "clip"), largest)
        self._watch = EpochWatch(self._state, self._optimizers)
        self._epoch: float | None = None
        self._fraction = 0.0
        self._step_length = ASSUMED_STEP
        self._has_stepped = False
        self._record_base_values()

    def __repr__(self) -> str:
        epoch = epoch_text(self._epoch, self._fraction)
        rates = ", ".join(dict.fromkeys(f"{rate:.3g}" for rate in self.get_last_lr()))
        return f"<StagedSchedule: stage {str(self.stage)!r}, {epoch}, learning rate {rates}>"

    @property
    def accumulation_steps(self) -> int:
        """Number of batches whose gradients make one optimizer step: `batch_multiplier`."""
        return self.params.batch_multiplier

    @property
    def stage(self) -> Stage:
        """The current stage; before the first `start_epoch`, the stage of the model."""
        return self._state.stage if self._epoch is None else _stage(self.params, self._epoch, self._fraction)

    @property
    def is_final(self) -> bool:
        """Whether both activations and weights are binarized, as they will be until the end.

        Select the best checkpoint among epochs where this is true: accuracies of earlier epochs belong to
        networks that are not fully binarized. The decay of the learning rate does not change the network, so
        it does not count. Before the first `start_epoch` this depends on the model, like `stage`.
        """
        if self._epoch is None:
            return self._state.stage == Stage.BINARIZED
        return all(_binarized(self.params, self._epoch, self._fraction))

    def stage_at(self, epoch: float) -> Stage:
        """The stage at the start of `epoch`, by the config of this schedule."""
        return stage_at(self.params, epoch)

    def start_epoch(self, epoch: float) -> None:
        """Set binarizers, learning rate and weight decay for the start of `epoch`, counted from 0.

        Under torch.distributed every rank must call it, with the same epoch: all ranks get the scales,
        thresholds and switches of rank 0, which may be the only one that has loaded a checkpoint.

        Raises ConfigError if `epoch` is negative or not finite.
        """
        if not (_is_number(epoch) and math.isfinite(epoch) and epoch >= 0):
            raise ConfigError(f"epoch: expected a number from 0 up, got {epoch!r}")
        synchronize(self._state.binarizers)
        if self._watch.is_under_way:
            self._watch.end()
        self._enable(epoch, 0.0)
        self._set_groups(epoch, 0.0)
        self._lead()
        self._watch.begin()

    def step(self, fraction: float) -> None:
        """Set binarizers, learning rate and weight decay for the next batch, after `optimizer.step()`.

        `fraction` is the share of the epoch that is done. Raises ConfigError if it is not in [0, 1] or less
        than before, if no epoch was started, or if another schedule has started another epoch of the model.
        """
        if not (_is_number(fraction) and 0 <= fraction <= 1):
            raise ConfigError(
                f"fraction: expected the share of the epoch that is done, from 0 to 1, got {fraction!r}. "
                "Pass (batch + 1) / len(loader)."
            )
        if self._epoch is None:
            raise ConfigError("step: no epoch was started. Call start_epoch(epoch) before its first batch.")
        if fraction < self._fraction:
            raise ConfigError(
                f"fraction: {fraction:g} comes after {self._fraction:g} within epoch {self._epoch:g}. "
                "Call start_epoch(epoch) before the first batch of each epoch."
            )
        if fraction == self._fraction == 1:
            warnings.warn(
                f"step: epoch {self._epoch:g} was already over. Call start_epoch(epoch) before the first "
                "batch of each epoch; without it no stage begins",
                stacklevel=2,
            )
        if self._state.started != self._start_at(self._epoch):
            raise ConfigError(
                f"step: since this schedule started epoch {self._epoch:g}, another StagedSchedule has "
                "started another epoch of the same model, or has other stages. Make one for each model, "
                "for several optimizers too: StagedSchedule(model, [first, second])."
            )
        self._after_optimizer_step(fraction)
        # Only if a stage begins in between: binarizers that the user has switched by hand stay as they are.
        if _binarized(self.params, self._epoch, fraction) != _binarized(
            self.params, self._epoch, self._fraction
        ):
            self._enable(self._epoch, fraction)
        self._set_groups(self._epoch, fraction)
        self._lead()

    def _after_optimizer_step(self, fraction: float) -> None:
        """Clamp weights if the config says so, and record how long a step is."""
        if self._clip is not None:
            self._clip.apply()
        if fraction > 0:
            self._step_length = min(fraction, self._step_length) if self._has_stepped else fraction
            self._has_stepped = True
            self._watch.is_under_way = True

    def get_last_lr(self) -> list[float]:
        """The learning rates of all parameter groups, in the order of the optimizers."""
        return [float(group["lr"]) for group in self._groups()]

    def state_dict(self) -> dict[str, Any]:
        """The state that `load_state_dict` takes, as numbers, lists, dicts and None."""
        self._record_base_values()
        groups = self._groups()
        return ScheduleState(
            epoch=self._epoch,
            fraction=self._fraction,
            step_length=self._step_length if self._has_stepped else None,
            base_lrs=[float(group["initial_lr"]) for group in groups],
            base_weight_decays=[group.get("initial_weight_decay") for group in groups],
            stages=stages_of(self.params),
        ).to_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`, as `state_dict` returned it: set binarizers, learning rate and weight decay.

        Load the model and the optimizer first. Raises CheckpointError, changing nothing, if `state` did not
        come from `state_dict`, or belongs to an optimizer with another number of parameter groups. Warns if
        it was saved with other stages: those of the config apply.
        """
        groups = self._groups()
        saved = ScheduleState.from_dict(state, len(groups))
        changed = saved.stages_changed(self.params)
        if changed:
            warnings.warn(
                f"schedule state: saved with another config: {'; '.join(changed)}. The config that the model "
                "has now applies.",
                stacklevel=2,
            )
        for group, lr, weight_decay in zip(groups, saved.base_lrs, saved.base_weight_decays, strict=True):
            group["initial_lr"] = lr
            if weight_decay is not None:
                group["initial_weight_decay"] = weight_decay
        self._has_stepped = saved.step_length is not None
        self._step_length = ASSUMED_STEP if saved.step_length is None else saved.step_length
        if saved.epoch is not None:
            self._enable(saved.epoch, saved.fraction)
            self._set_groups(saved.epoch, saved.fraction)
            self._watch.begin()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def _start_at(self, epoch: float) -> tuple[float, float, float]:
        """The value of `BinarizationState.started` after this schedule has started `epoch`."""
        return (epoch, self.params.activations_quant_start_epoch, self.params.weights_quant_start_epoch)

    def _lead(self) -> None:
        """Switch the followers like the model."""
        for follower in self._followers:
            follower.follow(self._state)

    def _record_base_values(self) -> None:
        """Record the base values in each parameter group that lacks them, such as one added later."""
        for group in self._groups():
            group.setdefault("initial_lr", float(group["lr"]))
            if "weight_decay" in group:
                group.setdefault("initial_weight_decay", float(group["weight_decay"]))

    def _enable(self, epoch: float, fraction: float) -> None:
        activations, weights = _binarized(self.params, epoch, fraction)
        self._state.enable(activations=activations, weights=weights)

    def _set_groups(self, epoch: float, fraction: float) -> None:
        """Move to `epoch` and `fraction`; set learning rate and weight decay where the schedule has them."""
        self._record_base_values()
        had_lr, had_weight_decay = self._owns()
        self._epoch, self._fraction = epoch, fraction
        set_progress(self._state, self.params, epoch + fraction)
        self._state.started, self._state.fraction = self._start_at(epoch), fraction
        has_lr, has_weight_decay = self._owns()
        factor = self._lr_factor()
        for group in self._groups():
            if has_lr or had_lr:
                _set(group, "lr", group["initial_lr"] * factor)
            if "weight_decay" in group and (has_weight_decay or had_weight_decay):
                _set(group, "weight_decay", 0.0 if has_weight_decay else group["initial_weight_decay"])

    def _owns(self) -> tuple[bool, bool]:
        """Whether the schedule controls the learning rate now, and whether it has set weight decay to 0."""
        if self._epoch is None:
            return False, False
        falls = _decay(self.params, self._epoch, self._fraction) is not None
        start = self.params.disable_wd_start_epoch
        return falls, start is not None and self._epoch + self._fraction > start

    def _lr_factor(self) -> float:
        """Factor on the base learning rates: 1 before a decay, and the last one of a decay after it."""
        assert self._epoch is not None
        return lr_factor(self.params, self._epoch, self._fraction, self._step_length)


def _is_number(value: object) -> bool:
    return isinstance(value, Real)


def _has_begun(start: float | None, epoch: float, fraction: float) -> bool:
    """Whether `start` is reached; the start of the next epoch only counts once that epoch has started."""
    return start is not None and start <= epoch + fraction and start < epoch + 1


def _decay(params: Params, epoch: float, fraction: float) -> tuple[float, float] | None:
    """Start and duration of the decay that has begun at ``epoch + fraction``; None before the first."""
    if params.lr_poly_drop_start_epoch is not None and _has_begun(
        params.lr_poly_drop_start_epoch, epoch, fraction
    ):
        return params.lr_poly_drop_start_epoch, params.lr_poly_drop_duration_epochs
    if not params.lr_per_stage:
        return None
    starts = {0.0, params.activations_quant_start_epoch, params.weights_quant_start_epoch}
    begun = max(start for start in starts if _has_begun(start, epoch, fraction))
    following = [start for start in starts if start > begun]
    return (begun, min(following) - begun) if following else None


def _binarized(params: Params, epoch: float, fraction: float) -> tuple[bool, bool]:
    """Whether activations are binarized, and whether weights are, at ``epoch + fraction``."""
    return (
        _has_begun(params.activations_quant_start_epoch, epoch, fraction),
        _has_begun(params.weights_quant_start_epoch, epoch, fraction),
    )


def _stage(params: Params, epoch: float, fraction: float) -> Stage:
    if _has_begun(params.lr_poly_drop_start_epoch, epoch, fraction):
        return Stage.ANNEALING
    match _binarized(params, epoch, fraction):
        case True, True:
            return Stage.BINARIZED
        case True, False:
            return Stage.ACTIVATIONS
        case False, True:
            return Stage.WEIGHTS_ONLY
        case _:
            return Stage.FULL_PRECISION


def _binarization_of(model: nn.Module) -> BinarizationState:
    """The state of a transformed model, also inside DistributedDataParallel or torch.compile."""
    state = getattr(unwrapped(model), "binarization", None)
    if not isinstance(state, BinarizationState):
        raise TransformError(
            f"model: {type(model).__name__} has no binarization state. "
            "Pass the module that fxbin.transform returned."
        )
    return state


def _set(group: dict[str, Any], key: str, value: float) -> None:
    """Set one option of a parameter group; a tensor is written in place, as a compiled step reads it."""
    if isinstance(group[key], Tensor):
        with torch.no_grad():
            group[key].fill_(value)
    else:
        group[key] = value
