"""Tries the parts that users have registered, before binarizers are composed of them.

What a part returns is used deep in a forward or backward, or by an export alone, where a mistake would show
as an error about something else, or not at all.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.activation_levels import ActivationLevels
from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.composed import activation_parts, weight_parts
from fxbin.binarizers.composed_weight import ComposedWeightBinarizer
from fxbin.binarizers.estimators import Estimator, StraightThrough
from fxbin.binarizers.latent import LatentTransform, Unchanged
from fxbin.binarizers.options import ActivationParts, Options, WeightParts
from fxbin.binarizers.part_check import (
    Trial,
    check_activation_levels,
    check_estimator,
    check_latent,
    check_weight_levels,
    is_own,
    transformed,
)
from fxbin.binarizers.parts import activation_levels, estimators, latent_transforms, weight_levels
from fxbin.binarizers.weight import check_conv2d_weight
from fxbin.binarizers.weight_levels import One, WeightLevels


def try_activation_parts(
    params: Options, parts: ActivationParts | None, shapes: Iterable[tuple[int, ...]]
) -> None:
    """Raise TransformError if parts of a user's own fail or do not fit, for inputs of `shapes`.

    Each number of channels is tried once, with few pixels.
    """
    if parts is None or not (parts.levels or parts.estimator):
        return
    rule, estimator = activation_parts(params, parts)
    if not any(map(is_own, (rule, estimator))):
        return
    small = dict.fromkeys((*([2] if len(shape) > 3 else []), shape[-3], 4, 5) for shape in shapes)
    with _as_in_training():
        for shape in small:
            _try_activations(rule, estimator, shape)


def _try_activations(rule: ActivationLevels, estimator: Estimator, shape: tuple[int, ...]) -> None:
    section = "compression.activations"
    x = _random(shape) + 0.5
    site = f"an input {shape}"
    if is_own(rule):
        name = activation_levels.name_of(rule)
        trial = Trial(rule, f"{section}.levels", name, site, _names_in(ActivationBinarizer(1)))
        check_activation_levels(trial, x)
    if is_own(estimator):
        trial = Trial(estimator, f"{section}.estimator", estimators.name_of(estimator), site)
        check_estimator(trial, _with_zero(2 * x))


def try_weight_parts(
    mode: str, params: Options, parts: WeightParts | None, shapes: Iterable[tuple[int, ...]]
) -> None:
    """Raise TransformError if parts of a user's own fail or do not fit, for weights of `shapes`.

    Raises ConfigError if `mode` has no parts, TransformError if a shape is not that of a conv2d weight.
    """
    if parts is None or not (parts.levels or parts.estimator or parts.latent):
        return
    rule, estimator, latent = weight_parts(mode, params, parts)
    if not any(map(is_own, (rule, estimator, latent))):
        return
    with _as_in_training():
        for shape in dict.fromkeys(shapes):
            check_conv2d_weight(shape)
            _try_weights(rule, estimator, latent, shape)


def _try_weights(
    rule: WeightLevels, estimator: Estimator, latent: LatentTransform, shape: tuple[int, ...]
) -> None:
    section = "compression.weights"
    w, site = _weight(shape), f"a weight {shape}"
    trial = Trial(latent, f"{section}.latent", latent_transforms.name_of(latent), site)
    if is_own(latent):
        check_latent(trial, w)
    v = transformed(trial, w, torch.tensor(0.5) if latent.follows_progress else None)
    if is_own(rule):
        name = weight_levels.name_of(rule)
        plain = ComposedWeightBinarizer(shape, One(), StraightThrough(), Unchanged())
        trial = Trial(rule, f"{section}.levels", name, site, _names_in(plain))
        check_weight_levels(trial, w, v)
    if is_own(estimator):
        trial = Trial(estimator, f"{section}.estimator", estimators.name_of(estimator), site)
        check_estimator(trial, _with_zero(v))


@contextmanager
def _as_in_training() -> Iterator[None]:
    """Tensors are made on the CPU, and gradients recorded, whatever `transform` was called in."""
    with torch.device("cpu"), torch.inference_mode(False), torch.enable_grad():
        yield


def _names_in(binarizer: Binarizer) -> frozenset[str]:
    """The names of all that is in `binarizer` but its parameters."""
    return frozenset(dir(binarizer)) - dict(binarizer.named_parameters()).keys()


def _random(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _weight(shape: tuple[int, ...]) -> Tensor:
    """A random weight whose filters have different sizes, and means that are not 0."""
    size = torch.logspace(0, -2, shape[0]).view(-1, 1, 1, 1)
    return size * (_random(shape) + 0.3)


def _with_zero(values: Tensor) -> Tensor:
    """`values` with one 0 among them."""
    values = values.clone()
    values[(0,) * values.dim()] = 0
    return values
