"""What a run will do, as the lines that `fxbin train` prints before its first epoch."""

from fxbin.config import Config
from fxbin.config.training import Distillation
from fxbin.errors.messages import listed

DISTANCES = {
    "softmax": "cross entropy with the predictions",
    "kl": "divergence from the predictions",
    "mse": "squared error of the logits",
}
"""The distance to the teacher in words, by `distillation.type`."""


def plan_lines(config: Config) -> list[str]:
    """One line for each part of the training that columns of numbers do not show."""
    lines = [f"the stages learn {loss_in_words(config)}"]
    if config.ema is not None:
        lines.append(f"an average of the parameters is kept in each stage, with decay {config.ema.decay:g}")
    return lines


def loss_in_words(config: Config) -> str:
    """The loss of the stages: what is learned from, with weights, temperature and smoothing."""
    own = config.distillation
    smoothing = f" (smoothing {config.label_smoothing:g})" if config.label_smoothing else ""
    if not own.enabled:
        return f"from labels{smoothing}"
    terms = []
    if own.label_weight:
        terms.append(f"from labels{smoothing}{_times(own.label_weight)}")
    if own.weight:
        softened = f" at temperature {own.temperature:g}" if own.temperature != 1 else ""
        terms.append(f"from {_teacher(own)}: {DISTANCES[own.type]}{softened}{_times(own.weight)}")
    if own.features:
        terms.append(f"from features after {listed(own.features)}{_times(own.feature_weight)}")
    return "; ".join(terms)


def _times(weight: float) -> str:
    return f", times {weight:g}" if weight != 1 else ""


def _teacher(own: Distillation) -> str:
    if own.teacher is None:
        return "the full-precision network"
    if own.teacher.previous_stage:
        return "the network of the previous stage"
    if own.teacher.model is not None:
        return own.teacher.model
    return f"the {own.teacher.network.replace('_', '-')} network of {own.teacher.checkpoint}"
