"""A phase of training, full precision or staged: a model with all that its training needs."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from fxbin.diagnostics import Diagnostics
from fxbin.staged.average import StagedAverage
from fxbin.train.checkpoint import Checkpoint, restore_rng
from fxbin.train.epoch import Loss
from fxbin.train.optimizer_step import OptimizerStep
from fxbin.train.position import Position
from fxbin.train.previous_stage import PreviousStage
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

    has_evaluated: bool = False
    """Whether an epoch was evaluated, so that the held-out pictures are known to be readable."""

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
