"""Builds binarizers from the parts that a config names, with the parts of a mode where it names none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.activation_levels import ActivationLevels, ZeroScale
from fxbin.binarizers.composed_weight import ComposedWeightBinarizer
from fxbin.binarizers.estimators import Estimator, StraightThrough, Window
from fxbin.binarizers.latent import LatentTransform, Unchanged
from fxbin.binarizers.options import ActivationParts, Options, Part, WeightParts
from fxbin.binarizers.parts import activation_levels, estimators, latent_transforms, weight_levels
from fxbin.binarizers.weight import ScaleAxis
from fxbin.binarizers.weight_levels import FilterMean, InputMean, TensorMean, WeightLevels
from fxbin.errors import ConfigError


@dataclass(frozen=True)
class ModeLevels:
    """The levels of weights that a built-in mode names; estimator and transformation are NNCF's in all."""

    make: Callable[..., WeightLevels]
    """Makes the levels from the values of `from_params`."""

    from_params: tuple[str, ...] = ()
    """Keys of `compression.params` that the levels depend on."""

    def of(self, params: Options) -> WeightLevels:
        """The levels, as `params` say."""
        return self.make(**{key: getattr(params, key) for key in self.from_params})


def _filter_or_input_mean(weight_scale_axis: ScaleAxis) -> WeightLevels:
    return FilterMean() if weight_scale_axis == "output" else InputMean()


LEVELS_OF_MODE = {
    "xnor": ModeLevels(_filter_or_input_mean, ("weight_scale_axis",)),
    "dorefa": ModeLevels(TensorMean),
}
"""What the built-in modes say about weights, by name: parts can be combined with these modes only."""


def nncf_activation(channels: int, params: Options) -> ActivationBinarizer:
    """NNCF's binarizer of activations, which all modes have but those that register their own."""
    rule = ZeroScale(**_starts(ZeroScale, params))
    return ActivationBinarizer(channels, rule, init_batches=params.activation_init_batches)


def activation_parts(params: Options, parts: ActivationParts) -> tuple[ActivationLevels, Estimator]:
    """The parts that `parts` describe; NNCF's levels and estimator are the defaults."""
    rule = _activation_rule(params, parts.levels or "zero_scale")
    return rule, Window() if parts.estimator is None else estimators.make(parts.estimator)


def composed_activation(channels: int, params: Options, parts: ActivationParts) -> ActivationBinarizer:
    """The binarizer of activations that consists of `activation_parts`."""
    return ActivationBinarizer(
        channels, *activation_parts(params, parts), init_batches=params.activation_init_batches
    )


def _activation_rule(params: Options, given: Part) -> ActivationLevels:
    """The rule for the levels; `params` has some options of some rules, which `given` overrides."""
    written = {"name": given} if isinstance(given, str) else dict(given)
    return activation_levels.make(_starts(activation_levels.class_of(given), params) | written)


def _starts(rule: type[ActivationLevels], params: Options) -> dict[str, Any]:
    """The options of `rule` that it reads from `params`."""
    return {option: getattr(params, key) for option, key in rule.from_params.items()}


def weight_parts(
    mode: str, params: Options, parts: WeightParts
) -> tuple[WeightLevels, Estimator, LatentTransform]:
    """The parts that `parts` describe; those of `mode` are the defaults.

    Raises ConfigError if `mode` is not one of the built-in modes.
    """
    if mode not in LEVELS_OF_MODE:
        raise has_no_parts(mode, "weights")
    return (
        LEVELS_OF_MODE[mode].of(params) if parts.levels is None else weight_levels.make(parts.levels),
        StraightThrough() if parts.estimator is None else estimators.make(parts.estimator),
        Unchanged() if parts.latent is None else latent_transforms.make(parts.latent),
    )


def composed_weight(
    mode: str, shape: tuple[int, ...], params: Options, parts: WeightParts
) -> ComposedWeightBinarizer:
    """The binarizer of weights that consists of `weight_parts`, whose errors it has."""
    return ComposedWeightBinarizer(shape, *weight_parts(mode, params, parts))


def has_no_parts(mode: str, section: str) -> ConfigError:
    """The error for parts given beside a mode whose binarizers are not composed of parts."""
    return ConfigError(
        f"compression.{section}: the binarizer of mode {mode!r} is not composed of parts: remove the parts, "
        'or choose mode "xnor" or "dorefa" for them'
    )
