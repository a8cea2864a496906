"""Checks what the stages will need, before any training."""

import torch
from torch import nn

from fxbin.compiler.transform import transform
from fxbin.config import Config
from fxbin.staged.parameter_groups import parameter_groups
from fxbin.train.build import model_of
from fxbin.train.data import ImageData
from fxbin.train.distillation import DistillationLoss
from fxbin.train.stage_loss import loss_of


@torch.no_grad()
def check_methods(config: Config, teacher: nn.Module | None, data: ImageData) -> None:
    """Raise ConfigError if `wd_exclude` matches no parameter, or features to learn are not in both networks.

    The networks are tried on two images. Without a `teacher`, it is another form of the model itself.
    """
    own = config.distillation
    has_features = own.enabled and bool(own.features)
    if not (has_features or config.binarization.params.wd_exclude):
        return
    x, y = data.train_x[:2], data.train_y[:2]
    with torch.random.fork_rng():
        model = model_of(config, pretrained=False).to(x.device).eval()
        student = transform(model, config).eval()
        parameter_groups(student)
        if not has_features:
            return
        loss = loss_of(config, model if teacher is None else teacher)
        assert isinstance(loss, DistillationLoss)
        with loss.watching(student):
            loss(student(x), x, y)
