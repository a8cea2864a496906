"""Learning from the full-precision network beside the labels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def soft_cross_entropy(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross entropy against the teacher's softened predictions.

    Forward:   T^2 * mean over the batch of -sum_c softmax(teacher / T)_c * log softmax(logits / T)_c
    Shapes:    both ``(n, classes)``, to a scalar.
    Limits:    Not the Kullback-Leibler divergence: the teacher's entropy, a constant, is left in.
    Source:    Hinton et al. 2015, arXiv:1503.02531, section 2; T^2 keeps the gradient's size as T grows.
    """
    targets = F.softmax(teacher_logits / temperature, dim=1)
    # F.cross_entropy takes class probabilities as targets and averages over the batch.
    return temperature**2 * F.cross_entropy(logits / temperature, targets)


class DistillationLoss:
    """Cross entropy with the labels, plus `weight` times `soft_cross_entropy` with a frozen teacher.

    The teacher is set to eval mode and asked without gradients; with `weight` 0 it is not asked.
    """

    def __init__(self, teacher: nn.Module, weight: float = 1.0, temperature: float = 1.0) -> None:
        self.teacher = teacher.eval()
        self.weight = weight
        self.temperature = temperature

    def __call__(self, logits: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """The loss of one batch: logits ``(n, classes)`` for the inputs x, labels ``(n,)``."""
        loss = F.cross_entropy(logits, labels)
        if self.weight == 0:
            return loss
        with torch.no_grad():
            teacher_logits = self.teacher(x)
        return loss + self.weight * soft_cross_entropy(logits, teacher_logits, self.temperature)
