"""Checks what the stages will need, before any training."""

import copy

import torch
from torch import nn

from fxbin.compiler.transform import transform
from fxbin.config import Config
from fxbin.errors import TransformError
from fxbin.staged.parameter_groups import parameter_groups
from fxbin.train.build import model_of
from fxbin.train.data import Data
from fxbin.train.distillation import DistillationLoss
from fxbin.train.stage_loss import learns_from_previous_stage, loss_of

OF_REWRITTEN = (
    "features are noted by hooks. If compression.rewrites has changed the network, name modules that its "
    "graph calls, such as a BatchNorm or the RPReLU beside a convolution, which `fxbin graph CONFIG --after "
    'insert-activation-binarizers` lists, and those of the teacher in "teacher_features".'
)


@torch.no_grad()
def check_methods(config: Config, teacher: nn.Module | None, data: Data) -> None:
    """Raise ConfigError if `wd_exclude` matches no parameter, or features to learn are not in both networks.

    The networks are tried on two images. Without a `teacher`, it is another form of the model itself: the
    transformed one if that is the previous stage, or if the network is rewritten before all training.
    """
    own = config.distillation
    has_features = own.enabled and bool(own.features)
    if not (has_features or config.binarization.params.wd_exclude):
        return
    x, y = data.samples(2)
    with torch.random.fork_rng():
        model = model_of(config, pretrained=False).to(x.device).eval()
        student = transform(model, config).eval()
        parameter_groups(student)
        if not has_features:
            return
        is_transformed = learns_from_previous_stage(config) or bool(config.binarization.rewrites)
        if teacher is None:
            teacher = copy.deepcopy(student) if is_transformed else model
        loss = loss_of(config, teacher)
        assert isinstance(loss, DistillationLoss)
        try:
            with loss.watching(student):
                loss(student(x), x, y)
        except TransformError as error:
            error.add_note(f"distillation.features: {OF_REWRITTEN}")
            raise
