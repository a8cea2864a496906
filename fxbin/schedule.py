"""The staged schedule: what is binarized, learning rate and weight decay as functions of the epoch."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fxbin.binarizers import synchronize
from fxbin.config import Config, Params
from fxbin.errors import CheckpointError, ConfigError, TransformError
from fxbin.sharding import check_sharding
from fxbin.state import BinarizationState, Stage
from fxbin.transformed import unwrapped

LR_DROP_POWER = 2.1
ASSUMED_STEP = 0.01
"""Length of a step, in epochs, until `StagedSchedule.step` has shown it."""


def stage_at(params: Params, epoch: float) -> Stage:
    """The stage at the start of `epoch`. A start of 2 has begun at 2 and later."""
    return _stage(params, epoch, 0.0)


class StagedSchedule:
    """Drive a transformed model and its optimizer through the stages of its config.

        schedule = StagedSchedule(model, optimizer)
        for epoch in range(90):
            schedule.start_epoch(epoch)
            for i, batch in enumerate(loader):
                ...
                optimizer.step()
                schedule.step((i + 1) / len(loader))

    With e = epoch + fraction:

    * activations are binarized where e >= `activations_quant_start_epoch`, weights likewise. What starts with
      an epoch starts in `start_epoch`, so a validation after ``step(1.0)`` still sees the finished epoch;
    * for start <= e, lr = base lr * (share that remains of the drop) ** 2.1. At and after the end of the drop
      that share is one step (the smallest fraction above 0 that `step` has seen), so the last value stays, as
      in NNCF 2.9. Before the start the learning rate is not touched: use a scheduler of your own there;
    * weight decay is 0 where e > `disable_wd_start_epoch`, strictly, as in NNCF.

    Going back in epochs undoes each of them. The base values are each parameter group's own: `initial_lr`, as
    torch's schedulers call it, and `initial_weight_decay`. The state is e and no more; nothing is changed
    before the first `start_epoch` or `load_state_dict`.

    Source: the sample training loop of NNCF 2.9 (staged quantization); the config keys are in `Params`.
    Errors: TransformError if the model was not transformed, is sharded in a way that cannot train, or the
            optimizer has none of its parameters.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, config: Config | None = None) -> None:
        self._state = _binarization_of(model)
        check_sharding(model)
        _check_optimizer(model, optimizer)
        self.optimizer = optimizer
        self.params: Params = (config or self._state.config).binarization.params
        self._epoch: float | None = None
        self._fraction = 0.0
        self._step_length = ASSUMED_STEP
        self._has_stepped = False
        self._record_base_values()

    @property
    def accumulation_steps(self) -> int:
        """Batches whose gradients make one optimizer step: `batch_multiplier`."""
        return self.params.batch_multiplier

    @property
    def stage(self) -> Stage:
        """The stage now; before the first `start_epoch`, that of the model."""
        return self._state.stage if self._epoch is None else _stage(self.params, self._epoch, self._fraction)

    def stage_at(self, epoch: float) -> Stage:
        """The stage at the start of `epoch`."""
        return stage_at(self.params, epoch)

    def start_epoch(self, epoch: float) -> None:
        """Set binarizers, learning rate and weight decay for the start of `epoch`, counted from 0.

        Under torch.distributed every rank must call it, with the same epoch: the scales, thresholds and
        switches of rank 0, which may be the only one that has loaded a checkpoint, become those of all.

        Raises ConfigError if `epoch` is negative or not finite.
        """
        if not (math.isfinite(epoch) and epoch >= 0):
            raise ConfigError(f"epoch: expected a number from 0 up, got {epoch!r}")
        synchronize(self._state.binarizers)
        self._enable(epoch, 0.0)
        self._set_groups(epoch, 0.0)

    def step(self, fraction: float) -> None:
        """Set them for the next batch, after `optimizer.step()`; `fraction` is the share of the epoch done.

        Raises ConfigError if `fraction` is not in [0, 1] or no epoch was started.
        """
        if not 0 <= fraction <= 1:
            raise ConfigError(
                f"fraction: expected the share of the epoch that is done, from 0 to 1, got {fraction!r}. "
                "Pass (batch + 1) / len(loader)."
            )
        if self._epoch is None:
            raise ConfigError("step: no epoch was started. Call start_epoch(epoch) before its first batch.")
        if fraction > 0:
            self._step_length = min(fraction, self._step_length) if self._has_stepped else fraction
            self._has_stepped = True
        # Only where a start lies between the two: binarizers that the user switched by hand stay so.
        if _binarized(self.params, self._epoch, fraction) != _binarized(
            self.params, self._epoch, self._fraction
        ):
            self._enable(self._epoch, fraction)
        self._set_groups(self._epoch, fraction)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each parameter group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything `load_state_dict` needs, as numbers, lists and None."""
        self._record_base_values()
        groups = self.optimizer.param_groups
        return {
            "epoch": self._epoch,
            "fraction": self._fraction,
            "step_length": self._step_length if self._has_stepped else None,
            "base_lrs": [float(group["initial_lr"]) for group in groups],
            "base_weight_decays": [group.get("initial_weight_decay") for group in groups],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where `state` was taken: binarizers, learning rate and weight decay are set accordingly.

        Load the model and the optimizer first. Raises CheckpointError, changing nothing, if `state` lacks an
        entry or is of an optimizer with another number of parameter groups.
        """
        groups = self.optimizer.param_groups
        missing = sorted(self.state_dict().keys() - state.keys())
        if missing:
            raise CheckpointError(f"schedule state: missing {', '.join(missing)}")
        if len(state["base_lrs"]) != len(groups):
            raise CheckpointError(
                f"schedule state: saved with {len(state['base_lrs'])} parameter groups, "
                f"the optimizer has {len(groups)}. Build the optimizer as it was when the state was saved."
            )
        for group, lr, weight_decay in zip(
            groups, state["base_lrs"], state["base_weight_decays"], strict=True
        ):
            group["initial_lr"] = lr
            if weight_decay is not None:
                group["initial_weight_decay"] = weight_decay
        self._has_stepped = state["step_length"] is not None
        self._step_length = state["step_length"] if self._has_stepped else ASSUMED_STEP
        if state["epoch"] is not None:
            self._enable(state["epoch"], state["fraction"])
            self._set_groups(state["epoch"], state["fraction"])

    def _record_base_values(self) -> None:
        """Give each parameter group, also one added late, the values that the schedule comes back to."""
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
            if "weight_decay" in group:
                group.setdefault("initial_weight_decay", float(group["weight_decay"]))

    def _enable(self, epoch: float, fraction: float) -> None:
        activations, weights = _binarized(self.params, epoch, fraction)
        self._state.enable(activations=activations, weights=weights)

    def _set_groups(self, epoch: float, fraction: float) -> None:
        """Move to `epoch` and `fraction`; learning rate and weight decay that are not ours are left alone."""
        self._record_base_values()
        had_lr, had_weight_decay = self._owns()
        self._epoch, self._fraction = epoch, fraction
        has_lr, has_weight_decay = self._owns()
        factor = self._lr_factor() if has_lr else 1.0
        for group in self.optimizer.param_groups:
            if has_lr or had_lr:
                _set(group, "lr", group["initial_lr"] * factor)
            if "weight_decay" in group and (has_weight_decay or had_weight_decay):
                _set(group, "weight_decay", 0.0 if has_weight_decay else group["initial_weight_decay"])

    def _owns(self) -> tuple[bool, bool]:
        """Whether the learning rate falls here, and whether weight decay is off."""
        if self._epoch is None:
            return False, False
        falls = _has_begun(self.params.lr_poly_drop_start_epoch, self._epoch, self._fraction)
        start = self.params.disable_wd_start_epoch
        return falls, start is not None and self._epoch + self._fraction > start

    def _lr_factor(self) -> float:
        assert self._epoch is not None
        assert self.params.lr_poly_drop_start_epoch is not None
        duration = self.params.lr_poly_drop_duration_epochs
        end = self.params.lr_poly_drop_start_epoch + duration
        remaining = max(end - (self._epoch + self._fraction), self._step_length)
        return float((remaining / duration) ** LR_DROP_POWER)


def _has_begun(start: float | None, epoch: float, fraction: float) -> bool:
    """Whether `start` is reached, where that of the next epoch is not before the next epoch is started."""
    return start is not None and start <= epoch + fraction and start < epoch + 1


def _binarized(params: Params, epoch: float, fraction: float) -> tuple[bool, bool]:
    """Whether activations and whether weights are binarized."""
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


def has_parameters_of(optimizer: Optimizer, model: nn.Module) -> bool:
    """Whether `optimizer` trains any parameter of `model`."""
    own = {id(parameter) for parameter in model.parameters()}
    return any(id(p) in own for group in optimizer.param_groups for p in group["params"])


def _check_optimizer(model: nn.Module, optimizer: Optimizer) -> None:
    if not has_parameters_of(optimizer, model):
        raise TransformError(
            "optimizer: it has none of the model's parameters. fxbin.transform returns a copy: "
            "build the optimizer from the parameters of the model it returned."
        )


def _set(group: dict[str, Any], key: str, value: float) -> None:
    """Set one option of a parameter group; in place where it is a tensor, which a compiled step reads."""
    if isinstance(group[key], Tensor):
        with torch.no_grad():
            group[key].fill_(value)
    else:
        group[key] = value
