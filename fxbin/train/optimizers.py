"""Makes the optimizers that a config names."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from fxbin.config import Config
from fxbin.config.optimizer import OptimizerValue, has_weight_decay, make_optimizer


def optimizer_of_pretraining(config: Config, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of the full-precision phase, with the learning rate and weight decay of `pretrain`."""
    own = config.pretrain
    chosen: OptimizerValue = config.optimizer if own.optimizer is None else own.optimizer
    rates = {"lr": own.lr}
    if has_weight_decay(chosen):
        rates["weight_decay"] = own.weight_decay
    return make_optimizer(chosen, parameters, **rates)


def optimizer_of_stages(config: Config, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer of the stages for parameter groups that say learning rate and weight decay."""
    return make_optimizer(config.optimizer, groups)
