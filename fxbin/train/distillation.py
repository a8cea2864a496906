"""Loss functions to learn from a full-precision network in addition to the labels, or instead of them."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.errors import ConfigError
from fxbin.train.label_loss import LabelLoss

DistanceType = Literal["softmax", "mse", "kl"]


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


def divergence(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence from the teacher's softened predictions, 0 where both networks agree.

    Forward:   T^2 * mean over the batch of sum_c t_c * log(t_c / softmax(logits / T)_c), where t is
               softmax(teacher / T)
    Gradient:  that of `soft_cross_entropy`, from which it differs by the teacher's entropy.
    Shapes:    both ``(n, classes)``, to a scalar.
    Source:    Liu et al. 2020 (ReActNet), arXiv:2003.03488, eq. (6) and (7), where T = 1.
    """
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def squared_error(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:  # noqa: ARG001
    """Mean squared difference to the teacher's logits, which has no temperature.

    Forward:   mean over the batch and the classes of (logits - teacher) ** 2
    Shapes:    both ``(n, classes)``, to a scalar.
    Source:    NNCF 2.9, knowledge distillation of type ``mse``.
    """
    return F.mse_loss(logits, teacher_logits)


DISTANCES: dict[DistanceType, Callable[[Tensor, Tensor, float], Tensor]] = {
    "softmax": soft_cross_entropy,
    "mse": squared_error,
    "kl": divergence,
}
"""The distance between the predictions of two networks, by the name that `distillation.type` has for it."""


class DistillationLoss:
    """`label_weight` times the loss on labels, plus `weight` times the distance to a teacher's predictions.

    The loss on labels is `LabelLoss` with `label_smoothing`. The distance is `soft_cross_entropy` or
    `divergence` (`type` ``"kl"``) at `temperature`, or `squared_error` (`type` ``"mse"``). ReActNet's
    distributional loss, which needs no labels, is ``DistillationLoss(teacher, type="kl", label_weight=0)``.
    The teacher is set to eval mode and runs without gradients; with `weight` 0 it does not run.

    `parts` is what the last loss consists of, detached and before the weights: ``{"label": ...,
    "distillation": ...}``.

    Errors: ConfigError if both weights are 0, so that there is nothing to learn from.
    """

    def __init__(
        self,
        teacher: nn.Module,
        weight: float = 1.0,
        temperature: float = 1.0,
        type: DistanceType = "softmax",  # noqa: A002  (the key of the config)
        *,
        label_weight: float = 1.0,
        label_smoothing: float = 0.0,
    ) -> None:
        if weight == label_weight == 0:
            raise ConfigError(
                "label_weight: got 0, expected a number above 0 beside weight=0. Nothing would be left to "
                "learn from: raise one of them."
            )
        self.teacher = teacher.eval()
        self.weight = weight
        self.temperature = temperature
        self.type: DistanceType = type
        self.label_weight = label_weight
        self.label_loss = LabelLoss(label_smoothing)
        self.parts: dict[str, Tensor] = {}

    def __call__(self, logits: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """The loss of one batch: logits ``(n, classes)`` for the inputs x, labels ``(n,)``."""
        loss = self.label_weight * self.label_loss(logits, x, labels)
        self.parts = dict(self.label_loss.parts)
        if self.weight == 0:
            return loss
        with torch.no_grad():
            teacher_logits = self.teacher(x)
        distance = DISTANCES[self.type](logits, teacher_logits, self.temperature)
        self.parts["distillation"] = distance.detach()
        return loss + self.weight * distance
