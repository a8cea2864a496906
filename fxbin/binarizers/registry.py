"""The registry of binarizers by name; a name is what `mode` in a config refers to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.composed import composed_activation, composed_weight, has_no_parts, nncf_activation
from fxbin.binarizers.factory_check import check_name, checked, definition, try_out, why_not_callable
from fxbin.binarizers.options import ActivationParts, Options, WeightParts
from fxbin.binarizers.weight import (
    DoReFaWeightBinarizer,
    WeightBinarizer,
    XNORWeightBinarizer,
    check_conv2d_weight,
)
from fxbin.errors import ConfigError, TransformError
from fxbin.errors.messages import did_you_mean

WeightFactory = Callable[[Sequence[int], Any], WeightBinarizer]
"""``factory(weight_shape, params)``: the shape of a conv2d weight, and a `fxbin.config.Params`."""

ActivationFactory = Callable[[int, Any], ActivationBinarizer]
"""``factory(channels, params)``: the channels of a conv2d input, and a `fxbin.config.Params`."""

W = TypeVar("W", bound=WeightFactory)
A = TypeVar("A", bound=ActivationFactory)

_weight_factories: dict[str, WeightFactory] = {}
_activation_factories: dict[str, ActivationFactory] = {}


def register_weight_binarizer(name: str) -> Callable[[W], W]:
    """Decorator: make a factory of weight binarizers available as mode `name` of a config.

    A factory takes the shape of a weight and the `params` of the config, and returns a new `WeightBinarizer`.
    A class with such a constructor is a factory as well.

    Registering the same definition again, as when a notebook cell is run twice, replaces the earlier one.
    Raises ConfigError if something else has that name, or if it does not take a factory's arguments.
    """

    def register(factory: W) -> W:
        _check_new("weight", name, factory, _weight_factories, "weight_shape, params")
        _weight_factories[name] = factory
        return factory

    return register


def register_activation_binarizer(name: str) -> Callable[[A], A]:
    """Decorator: make a factory of activation binarizers the one of mode `name`.

    A factory takes the number of input channels of a convolution and the `params` of the config, and returns
    a new `ActivationBinarizer`. The rules of `register_weight_binarizer` apply.

    A mode without its own activation binarizer uses NNCF's.
    """

    def register(factory: A) -> A:
        _check_new("activation", name, factory, _activation_factories, "channels, params")
        _activation_factories[name] = factory
        return factory

    return register


def make_weight_binarizer(
    mode: str, weight_shape: Sequence[int], params: Options, parts: WeightParts | None = None
) -> WeightBinarizer:
    """Build the weight binarizer of `mode`, or one composed of `parts`, with those of `mode` for the rest.

    Raises ConfigError if there is no such mode, or if it is not one that has parts; TransformError if the
    shape is not that of a conv2d weight, if the factory returns anything but a new weight binarizer, or if
    that fails on a weight of this shape.
    """
    factory = _weight_factories.get(mode)
    if factory is None:
        raise _unknown_mode(mode)
    check_conv2d_weight(tuple(weight_shape))
    if parts is not None and (parts.levels or parts.estimator or parts.latent):
        return composed_weight(mode, tuple(weight_shape), params, parts)
    made = factory(weight_shape, params)
    binarizer = checked(made, WeightBinarizer, mode, "weight")  # type: ignore[type-abstract]  # any subclass
    if type(binarizer) not in (XNORWeightBinarizer, DoReFaWeightBinarizer):
        try_out(binarizer, tuple(weight_shape), mode)
        binarizer.tried_shape = tuple(weight_shape)
    return binarizer


def make_activation_binarizer(
    mode: str, channels: int, params: Options, parts: ActivationParts | None = None
) -> ActivationBinarizer:
    """Build the activation binarizer of `mode`, or one composed of `parts`, with NNCF's for the rest.

    Raises ConfigError if no binarizer has that name, or if it is not one that has parts; TransformError if
    its factory returns anything but a new activation binarizer with `channels` channels.
    """
    factory = _activation_factories.get(mode)
    if factory is None and mode not in _weight_factories:
        raise _unknown_mode(mode)
    if parts is not None and (parts.levels or parts.estimator):
        if not activations_are_composed(mode):
            raise has_no_parts(mode, "activations")
        return composed_activation(channels, params, parts)
    binarizer = (factory or nncf_activation)(channels, params)
    binarizer = checked(binarizer, ActivationBinarizer, mode, "activation")
    if binarizer.channels != channels:
        raise TransformError(
            f"mode: {mode!r}: its factory for activations was called with {channels} channels and "
            f"returned a binarizer with {binarizer.channels}: it must pass the number on"
        )
    return binarizer


def activations_are_composed(mode: str) -> bool:
    """Whether the activation binarizer of `mode` is NNCF's, so that parts can replace those of it."""
    return _activation_factories.get(mode, nncf_activation) is nncf_activation


def weight_binarizer_names() -> tuple[str, ...]:
    """Every `mode` a config can have, sorted."""
    return tuple(sorted(_weight_factories))


def activation_binarizer_names() -> tuple[str, ...]:
    """The modes with an activation binarizer of their own, sorted."""
    return tuple(sorted(_activation_factories))


def _check_new(
    kind: str, name: str, factory: Any, taken: Mapping[str, Callable[..., Any]], arguments: str
) -> None:
    """Raise ConfigError if `factory` cannot be registered as `name`."""
    check_name(f"{kind} binarizer", name)
    if name in taken and definition(taken[name]) != definition(factory):
        raise ConfigError(f"{kind} binarizer {name!r} is registered already: choose another name")
    if problem := why_not_callable(factory):
        raise ConfigError(
            f"{kind} binarizer {name!r}: expected a function of ({arguments}) that returns a binarizer, got "
            f"{factory!r} ({problem}). For a class: lambda {arguments}: {definition(factory)[1]}(...)"
        )


def _unknown_mode(mode: str) -> ConfigError:
    known = weight_binarizer_names()
    sentences = [
        f"mode: {mode!r} is not a binarizer.",
        did_you_mean(mode, known, 3),
        f"Known: {', '.join(known)}. Add one with fxbin.register_weight_binarizer.",
    ]
    return ConfigError(" ".join(filter(None, sentences)))


register_weight_binarizer("xnor")(lambda _shape, params: XNORWeightBinarizer(params.weight_scale_axis))
register_weight_binarizer("dorefa")(lambda _shape, _params: DoReFaWeightBinarizer())
for _mode in ("xnor", "dorefa"):
    register_activation_binarizer(_mode)(nncf_activation)
