"""The loss function of the staged phase, as the config describes it."""

from torch import nn

from fxbin.config import Config
from fxbin.train.distillation import DistillationLoss
from fxbin.train.epoch import Loss
from fxbin.train.label_loss import LabelLoss


def loss_of(config: Config, teacher: nn.Module) -> Loss:
    """The loss function of the staged phase: cross entropy, and distillation if the config enables it."""
    own, smoothing = config.distillation, config.label_smoothing
    if not own.enabled:
        return LabelLoss(smoothing)
    return DistillationLoss(
        teacher,
        own.weight,
        own.temperature,
        own.type,
        label_weight=own.label_weight,
        label_smoothing=smoothing,
        features=own.features,
        teacher_features=own.teacher_features,
        feature_weight=own.feature_weight,
    )


def learns_from_previous_stage(config: Config) -> bool:
    """Whether the teacher is the network of the previous stage."""
    own = config.distillation
    return own.enabled and own.teacher is not None and own.teacher.previous_stage
