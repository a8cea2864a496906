"""Binarizers by name: what `mode` in a config can be."""

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.weight import (
    DoReFaWeightBinarizer,
    WeightBinarizer,
    XNORWeightBinarizer,
    check_conv2d_weight,
)
from fxbin.errors import ConfigError

if TYPE_CHECKING:
    from fxbin.config import Params

WeightFactory = Callable[[Sequence[int], "Params"], WeightBinarizer]
"""``factory(weight_shape, params)``: shape of the conv2d weight, `params` section of the config."""

ActivationFactory = Callable[[int, "Params"], ActivationBinarizer]
"""``factory(channels, params)``: channels of the conv2d input, `params` section of the config."""

W = TypeVar("W", bound=WeightFactory)
A = TypeVar("A", bound=ActivationFactory)

_weight_factories: dict[str, WeightFactory] = {}
_activation_factories: dict[str, ActivationFactory] = {}


def register_weight_binarizer(name: str) -> Callable[[W], W]:
    """Decorator: make a factory, or a class with a factory's constructor, available as mode `name`.

    Raises ConfigError if the name is taken.
    """

    def register(factory: W) -> W:
        _check_free("weight", name, _weight_factories)
        _weight_factories[name] = factory
        return factory

    return register


def register_activation_binarizer(name: str) -> Callable[[A], A]:
    """Decorator: use a factory for the activations of mode `name`. Raises ConfigError if that is taken.

    A mode without an activation binarizer of its own has `ActivationBinarizer`.
    """

    def register(factory: A) -> A:
        _check_free("activation", name, _activation_factories)
        _activation_factories[name] = factory
        return factory

    return register


def make_weight_binarizer(mode: str, weight_shape: Sequence[int], params: "Params") -> WeightBinarizer:
    """Build the weight binarizer of `mode`. ConfigError if there is none, TransformError if not 4-d."""
    factory = _weight_factories.get(mode)
    if factory is None:
        raise _unknown_mode(mode)
    check_conv2d_weight(tuple(weight_shape))
    return factory(weight_shape, params)


def make_activation_binarizer(mode: str, channels: int, params: "Params") -> ActivationBinarizer:
    """Build the activation binarizer of `mode`. ConfigError if no binarizer has that name."""
    factory = _activation_factories.get(mode)
    if factory is None and mode not in _weight_factories:
        raise _unknown_mode(mode)
    return (factory or _scale_threshold)(channels, params)


def weight_binarizer_names() -> tuple[str, ...]:
    """Every `mode` a config can have, sorted."""
    return tuple(sorted(_weight_factories))


def activation_binarizer_names() -> tuple[str, ...]:
    """The modes with an activation binarizer of their own, sorted."""
    return tuple(sorted(_activation_factories))


def _check_free(kind: str, name: str, taken: dict[str, WeightFactory] | dict[str, ActivationFactory]) -> None:
    if name in taken:
        raise ConfigError(f"{kind} binarizer {name!r} is registered already: choose another name")


def _unknown_mode(mode: str) -> ConfigError:
    known = weight_binarizer_names()
    close = ", ".join(repr(name) for name in difflib.get_close_matches(mode, known))
    return ConfigError(
        f"mode: {mode!r} is not a binarizer. "
        + (f"Did you mean {close}? " if close else "")
        + f"Known: {', '.join(known)}. Add one with fxbin.binarizers.register_weight_binarizer."
    )


def _scale_threshold(channels: int, params: "Params") -> ActivationBinarizer:
    return ActivationBinarizer(
        channels,
        scale_init=params.activation_scale_init,
        threshold_init=params.activation_threshold_init,
        init_batches=params.activation_init_batches,
    )


register_weight_binarizer("xnor")(lambda _shape, params: XNORWeightBinarizer(params.weight_scale_axis))
register_weight_binarizer("dorefa")(lambda _shape, _params: DoReFaWeightBinarizer())
for _mode in ("xnor", "dorefa"):
    register_activation_binarizer(_mode)(_scale_threshold)
