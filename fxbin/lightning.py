"""Staged training under Lightning: callbacks for its Trainer. Needs ``pip install 'fxbin[lightning]'``."""

import math
import warnings
from typing import Any

from torch import Tensor

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback, ModelCheckpoint
except ImportError as error:
    raise ImportError("fxbin.lightning needs Lightning: `pip install 'fxbin[lightning]'`") from error

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.state import Stage
from fxbin.binarizers import IGNORED_BY_DDP, ignored_by_ddp
from fxbin.errors import CheckpointError, ConfigError, TransformError
from fxbin.staged.check import has_parameters_of
from fxbin.staged.schedule import StagedSchedule


class StagedBinarization(Callback):
    """Drive the transformed model in a LightningModule through the stages of its config.

        self.net = fxbin.transform(net, config)  # in the LightningModule
        Trainer(callbacks=[StagedBinarization()])

    It runs a `StagedSchedule`: at the start of each epoch, and after each step of the optimizer, also with
    `accumulate_grad_batches`. The state of the schedule is in Lightning's checkpoints, so
    ``fit(ckpt_path=...)`` resumes where the checkpoint was saved, even in the middle of an epoch (for which
    Lightning needs a loader that can be resumed). A validation runs in the stage of its epoch. All optimizers
    with parameters of the model are scheduled. The strategy ``"ddp"`` works.

    Raises TransformError if the LightningModule has no transformed model, several, or no optimizer for it,
    ConfigError if the number of batches in an epoch is not known.
    """

    def __init__(self) -> None:
        self.schedule: StagedSchedule | None = None
        """The schedule; None before the training starts."""
        self._loaded: dict[str, Any] | None = None
        self._epoch: int | None = None
        """The epoch that was started last; None before the first."""
        self._steps = 0

    @property
    def stage(self) -> Stage | None:
        """The current stage; None before the training starts."""
        return None if self.schedule is None else self.schedule.stage

    @property
    def is_final(self) -> bool:
        """Whether everything is binarized, as `StagedSchedule.is_final`; False before the training."""
        return self.schedule is not None and self.schedule.is_final

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Tell DistributedDataParallel, which wraps the model later, which parameters to ignore."""
        _transformed_in(pl_module)
        of_user = getattr(pl_module, IGNORED_BY_DDP, ())
        vars(pl_module)[IGNORED_BY_DDP] = list(dict.fromkeys((*of_user, *ignored_by_ddp(pl_module))))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the schedule, as the optimizers exist now; restore its state if a checkpoint was loaded."""
        model = _transformed_in(pl_module)
        optimizers = [found for found in trainer.optimizers if has_parameters_of(found, model)]
        if not optimizers:
            raise TransformError(
                f"{type(pl_module).__name__}.configure_optimizers: no optimizer has parameters of the model "
                "that fxbin.transform returned. It returns a copy: build the optimizer from that copy."
            )
        batches = trainer.num_training_batches
        if not math.isfinite(batches):
            raise ConfigError(
                "limit_train_batches: the stages need the number of batches in an epoch, and the loader has "
                "no length. Give the Trainer a number."
            )
        self.schedule = StagedSchedule(model, optimizers)
        asked, done = self.schedule.accumulation_steps, trainer.accumulate_grad_batches
        if asked not in (1, done):
            warnings.warn(
                f"params.batch_multiplier: {asked} has no effect here, because the Trainer accumulates "
                f"gradients: accumulate_grad_batches is {done}.",
                stacklevel=2,
            )
        self._steps = trainer.global_step
        self._epoch = None
        if self._loaded is not None:
            state, self._loaded = self._loaded, None
            self.schedule.load_state_dict(state)
            self._epoch = state["epoch"]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the epoch in the schedule."""
        self._start(trainer.current_epoch)

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Start the epoch if `on_train_epoch_start` was not called, as after resuming from a last batch."""
        self._start(trainer.current_epoch)

    def _start(self, epoch: int) -> None:
        if self.schedule is not None and epoch != self._epoch:
            self._epoch = epoch
            self.schedule.start_epoch(epoch)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Step the schedule if an optimizer has stepped after this batch."""
        if self.schedule is None or trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        self.schedule.step((batch_idx + 1) / trainer.num_training_batches)

    def state_dict(self) -> dict[str, Any]:
        """The state of the schedule, which Lightning saves in its checkpoints."""
        return {"schedule": None if self.schedule is None else self.schedule.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state from a checkpoint of Lightning until the schedule exists."""
        if "schedule" not in state_dict:
            raise CheckpointError(
                f"checkpoint: the state of StagedBinarization has the keys {sorted(state_dict)}, expected "
                '"schedule": it was saved by another version of fxbin. Use that version, or load only the '
                "model's weights."
            )
        self._loaded = state_dict["schedule"]


class FinalCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` that compares epochs only once everything is binarized, and keeps no earlier ones.

        Trainer(callbacks=[StagedBinarization(), FinalCheckpoint(monitor="accuracy", mode="max")])

    A network is more accurate in full precision than in one bit, so the best checkpoint of all stages would
    be one from before binarization. From Lightning 2.6 on, `save_last` saves only when one of the best is
    saved, so not before everything is binarized: to resume from any epoch, add a plain `ModelCheckpoint`.

    Raises ConfigError without a `monitor`, or if the Trainer has no `StagedBinarization`.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise ConfigError if epochs could not be compared: no `monitor`, or no `StagedBinarization`."""
        if self.monitor is None:
            raise ConfigError(
                "FinalCheckpoint: monitor: expected the name of what is logged, got None. Without one, "
                "Lightning's ModelCheckpoint keeps the last epoch, which is final."
            )
        if _staged_in(trainer) is None:
            raise ConfigError(
                "FinalCheckpoint: the Trainer has no StagedBinarization, which knows the stage: "
                "Trainer(callbacks=[StagedBinarization(), FinalCheckpoint(...)])."
            )
        super().setup(trainer, pl_module, stage)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether this epoch is one of the best among those in which everything is binarized."""
        staged = _staged_in(trainer)
        return staged is not None and staged.is_final and bool(super().check_monitor_top_k(trainer, current))


def _staged_in(trainer: Trainer) -> StagedBinarization | None:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((found for found in callbacks if isinstance(found, StagedBinarization)), None)


def _transformed_in(pl_module: LightningModule) -> BinarizedModule:
    found = [module for module in pl_module.modules() if isinstance(module, BinarizedModule)]
    if len(found) != 1:
        raise TransformError(
            f"{type(pl_module).__name__}: expected one model that fxbin.transform returned in it, found "
            f"{len(found)}. Transform in its __init__: self.net = fxbin.transform(net, config)."
        )
    return found[0]
