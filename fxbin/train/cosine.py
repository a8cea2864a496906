"""The learning-rate schedule of the full-precision phase."""

import math
from typing import Any

import torch


def cosine_lr(base_lr: float, done: float) -> float:
    """The learning rate after the share `done` of the epochs: from `base_lr` to 0."""
    return base_lr * (1 + math.cos(math.pi * min(done, 1.0))) / 2


class CosineSchedule:
    """Cosine decay: lr = base_lr * (1 + cos(pi * e / epochs)) / 2, where e is the epoch with its fraction.

    Used like `StagedSchedule`: `start_epoch` before an epoch, `step` after each optimizer step. The learning
    rate depends on e only, so resuming needs nothing but the epoch.
    Source: Loshchilov and Hutter 2016, arXiv:1608.03983, eq. (5) without restarts.
    """

    stage = "pretraining"
    """Name of the only stage."""

    def __init__(self, optimizer: torch.optim.Optimizer, base_lr: float, epochs: int) -> None:
        self.optimizer = optimizer
        self.base_lr = base_lr
        self.epochs = epochs
        self.epoch = 0

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate of the first batch of `epoch`, counted from 0."""
        self.epoch = epoch
        self.step(0.0)

    def step(self, fraction: float) -> None:
        """Set the learning rate after the share `fraction` of the current epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = cosine_lr(self.base_lr, (self.epoch + fraction) / self.epochs)

    def state_dict(self) -> dict[str, Any]:
        """The current epoch, as ``{"epoch": epoch}``."""
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`, as `state_dict` returned it."""
        self.epoch = state["epoch"]
