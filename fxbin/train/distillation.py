"""Loss functions to learn from a full-precision network in addition to the labels."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def soft_cross_entropy(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross entropy against the teacher's softened predictions.

    Forward:   T^2 * mean over the batch of -sum_c softmax(teacher / T)_c * log softmax(logits / T)_c
    Shapes:    both ``(n, classes)``, to a scalar.
    Limits:    Not the Kullback-Leibler divergence: it includes the teacher's entropy, a constant.
    Source:    Hinton et al. 2015, arXiv:1503.02531, section 2; T^2 keeps the gradient's size as T grows.
    """
    targets = F.softmax(teacher_logits / temperature, dim=1)
    # F.cross_entropy takes class probabilities as targets and averages over the batch.
    return temperature**2 * F.cross_entropy(logits / temperature, targets)


def squared_error(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Mean squared difference to the teacher's logits.

    Forward:   mean over the batch and the classes of (logits - teacher) ** 2
    Shapes:    both ``(n, classes)``, to a scalar.
    Source:    NNCF 2.9, knowledge distillation of type ``mse``.
    """
    return F.mse_loss(logits, teacher_logits)


class DistillationLoss:
    """Cross entropy with the labels, plus `weight` times the distance to the predictions of a teacher.

    The distance is `soft_cross_entropy` at `temperature`, or `squared_error` if `type` is ``"mse"``.
    The teacher is set to eval mode and runs without gradients; with `weight` 0 it does not run.
    """

    def __init__(
        self,
        teacher: nn.Module,
        weight: float = 1.0,
        temperature: float = 1.0,
        type: Literal["softmax", "mse"] = "softmax",  # noqa: A002  (the key of the config)
    ) -> None:
        self.teacher = teacher.eval()
        self.weight = weight
        self.temperature = temperature
        self.type = type

    def __call__(self, logits: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """The loss of one batch: logits ``(n, classes)`` for the inputs x, labels ``(n,)``."""
        loss = F.cross_entropy(logits, labels)
        if self.weight == 0:
            return loss
        with torch.no_grad():
            teacher_logits = self.teacher(x)
        return loss + self.weight * self._distance(logits, teacher_logits)

    def _distance(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        if self.type == "mse":
            return squared_error(logits, teacher_logits)
        return soft_cross_entropy(logits, teacher_logits, self.temperature)
