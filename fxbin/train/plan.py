"""What a run will do, as the lines that `fxbin train` prints before its first epoch."""

from collections.abc import Iterator

from fxbin.config import Config
from fxbin.config.optimizer import OptimizerValue
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
    lines = [f"the stages learn {loss_in_words(config)}", distillation_in_words(config.distillation)]
    if config.ema is not None:
        lines.append(f"an average of the parameters is kept in each stage, with decay {config.ema.decay:g}")
    lines.extend(steps_in_words(config))
    return lines


def steps_in_words(config: Config) -> Iterator[str]:
    """How steps are made, where that is not Adam in float32."""
    if config.optimizer != "Adam":
        yield f"the optimizer is {_named(config.optimizer)}"
    if config.gradient_clip is not None:
        by = "norm" if config.gradient_clip.norm is not None else "value"
        yield f"gradients are limited to a {by} of {getattr(config.gradient_clip, by):g}"
    if config.precision != "float32":
        yield f"training steps run in {config.precision}, evaluations in float32"
    if config.compile:
        yield "training steps are compiled, anew in each stage, which takes a while"
    if config.early_stop is not None:
        epochs = config.early_stop.patience
        yield f"the run ends after {epochs} epochs without a better {config.best_by} in the last stage"


def _named(value: OptimizerValue) -> str:
    """An optimizer with its arguments: ``SGD (momentum 0.9)``."""
    if isinstance(value, str):
        return value
    options = ", ".join(f"{key} {option}" for key, option in value.items() if key != "name")
    return (
        f"{value.get('name', 'Adam')} ({options})"
        if options and "name" in value
        else str(value.get("name", "Adam"))
    )


def distillation_in_words(own: Distillation) -> str:
    """Whether there is a teacher, and which network it is."""
    if not own.enabled or not (own.weight or own.features):
        return "distillation is off"
    return f"distillation is on: the teacher is {_teacher(own)}"


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
