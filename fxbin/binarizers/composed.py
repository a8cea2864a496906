"""Builds binarizers from the parts that a config names, with the parts of a mode where it names none."""

from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.activation_levels import ActivationLevels, ZeroScale
from fxbin.binarizers.composed_weight import ComposedWeightBinarizer
from fxbin.binarizers.estimators import Estimator, StraightThrough, Window
from fxbin.binarizers.latent import LatentTransform, Unchanged
from fxbin.binarizers.options import ActivationParts, Options, Part, WeightParts
from fxbin.binarizers.parts import activation_levels, estimators, latent_transforms, weight_levels
from fxbin.binarizers.weight_levels import FilterMean, InputMean, TensorMean, WeightLevels
from fxbin.errors import ConfigError


def nncf_activation(channels: int, params: Options) -> ActivationBinarizer:
    """NNCF's binarizer of activations, which all modes have but those that register their own."""
    rule = ZeroScale(params.activation_scale_init, params.activation_threshold_init)
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
    """The rule for the levels; `params` has options of ``zero_scale``, which `given` overrides."""
    written = {"name": given} if isinstance(given, str) else given
    if written["name"] == "zero_scale":
        starts = {
            "scale_init": params.activation_scale_init,
            "threshold_init": params.activation_threshold_init,
        }
        written = starts | dict(written)
    return activation_levels.make(written)


def weight_parts(
    mode: str, params: Options, parts: WeightParts
) -> tuple[WeightLevels, Estimator, LatentTransform]:
    """The parts that `parts` describe; those of `mode` are the defaults.

    Raises ConfigError if `mode` is not one of the built-in modes.
    """
    rules: dict[str, WeightLevels] = {
        "xnor": FilterMean() if params.weight_scale_axis == "output" else InputMean(),
        "dorefa": TensorMean(),
    }
    if mode not in rules:
        raise has_no_parts(mode, "weights")
    return (
        rules[mode] if parts.levels is None else weight_levels.make(parts.levels),
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
