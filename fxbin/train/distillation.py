"""Loss functions to learn from a full-precision network in addition to the labels, or instead of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.binarized.unwrap import unwrapped
from fxbin.errors import ConfigError
from fxbin.train.attention import attention_distance
from fxbin.train.captured_features import CapturedFeatures
from fxbin.train.label_loss import LabelLoss
from fxbin.train.previous_stage import PreviousStage

FEATURES = "distillation.features"
TEACHER_FEATURES = "distillation.teacher_features"
"""The keys of the config, which messages name."""

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

    `features` names modules, after which `feature_weight` times the `attention_distance` to the teacher's
    features is added, summed over the modules; `teacher_features` names those of the teacher, in the same
    order, where they have other names. The loss is then called while it watches the model:

        with loss.watching(binarized):
            for x, y in loader:
                loss(binarized(x), x, y).backward()

    `parts` is what the last loss consists of, detached and before the weights: ``{"label": ...,
    "distillation": ..., "feature": ...}``.

    Errors: ConfigError if there is nothing to learn from, if a network lacks a module, if features do not
            fit each other, or if a loss with `features` is called while it watches no model.
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
        features: Sequence[str] = (),
        teacher_features: Sequence[str] = (),
        feature_weight: float = 1.0,
    ) -> None:
        if weight == label_weight == 0 and not features:
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
        self.features = tuple(features)
        self.feature_weight = feature_weight
        self.parts: dict[str, Tensor] = {}
        inner = teacher.network if isinstance(teacher, PreviousStage) else teacher
        names, key = (teacher_features, TEACHER_FEATURES) if teacher_features else (features, FEATURES)
        self._taught = CapturedFeatures(inner, names, f"{key} of the teacher")
        self._learned: CapturedFeatures | None = None

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Note the `features` of `model`, which may be wrapped, and of the teacher, until the block ends."""
        if not self.features:
            yield
            return
        inner = unwrapped(model)
        with CapturedFeatures(inner, self.features, FEATURES) as self._learned, self._taught:
            try:
                yield
            finally:
                self._learned = None

    def __call__(self, logits: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """The loss of one batch: logits ``(n, classes)`` for the inputs x, labels ``(n,)``."""
        loss = self.label_weight * self.label_loss(logits, x, labels)
        self.parts = dict(self.label_loss.parts)
        if self.weight == 0 and not self.features:
            return loss
        with torch.no_grad():
            teacher_logits = self.teacher(x).to(logits.dtype)  # which autocast may have rounded
        if self.weight:
            distance = DISTANCES[self.type](logits, teacher_logits, self.temperature)
            self.parts["distillation"] = distance.detach()
            loss = loss + self.weight * distance
        if self.features:
            distance = self._feature_distance()
            self.parts["feature"] = distance.detach()
            loss = loss + self.feature_weight * distance
        return loss

    def _feature_distance(self) -> Tensor:
        """The sum over the modules of the `attention_distance` of the last forwards."""
        if self._learned is None:
            raise ConfigError(
                f"{FEATURES}: the loss watches no model: call it inside `with loss.watching(model):`."
            )
        learned, taught = self._learned.take(), self._taught.take()
        if [positions(own) for own in learned] != [positions(its) for its in taught]:
            raise ConfigError(
                f"{FEATURES}: expected features at the same positions in both networks, got "
                f"{[tuple(own.shape) for own in learned]} and, from the teacher, "
                f"{[tuple(its.shape) for its in taught]}: name modules of the same resolution."
            )
        distances = [attention_distance(*pair) for pair in zip(learned, taught, strict=True)]
        return torch.stack(distances).sum()


def positions(features: Tensor) -> tuple[int, ...]:
    """The shape of `features` ``(n, c, h, w)`` without its channels."""
    return (len(features), *features.shape[2:])
