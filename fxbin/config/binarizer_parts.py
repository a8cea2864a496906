"""Keys of `compression.activations` and `compression.weights`: the parts that binarizers are composed of."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from fxbin.binarizers.parts import (
    PartRegistry,
    activation_levels,
    estimators,
    latent_transforms,
    weight_levels,
)
from fxbin.binarizers.registry import activation_binarizer_names, weight_binarizer_names
from fxbin.config.part import Part, PartOf
from fxbin.config.value_types import NotNull, Positive, Section, Text, one_of


def known_mode(mode: str) -> str:
    """Refuse a `mode` that no binarizer is registered for."""
    own = "Add a mode of your own with fxbin.register_weight_binarizer."
    return one_of(mode, sorted(weight_binarizer_names()), own)


def _known_activation_mode(mode: str) -> str:
    """Refuse a mode that no binarizer is registered for, of activations or of weights."""
    names = sorted({*weight_binarizer_names(), *activation_binarizer_names()})
    return one_of(mode, names, "Add one of your own with fxbin.register_activation_binarizer.")


class Parts(Section):
    """Base class of the sections that say how activations or weights are binarized."""

    if TYPE_CHECKING:  # a key of each section, with a docstring of its own

        @property
        def mode(self) -> str | None:
            """A mode, whose binarizers are used."""

    @classmethod
    def registries(cls) -> dict[str, PartRegistry[Any]]:
        """The registry of each key that takes a part."""
        marks = [(key, mark) for key, field in cls.model_fields.items() for mark in field.metadata]
        return {key: mark.registry for key, mark in marks if isinstance(mark, PartOf)}

    @property
    def given(self) -> dict[str, Part]:
        """The parts that are given, by key."""
        parts = {key: getattr(self, key) for key in self.registries()}
        return {key: part for key, part in parts.items() if part is not None}

    @property
    def described(self) -> str:
        """The parts that are given, by name, such as ``"sign, approx_sign"``; empty without any."""
        given = [getattr(self, name) for name in type(self).model_fields]
        parts = [part for part in given if isinstance(part, str | dict)]
        return ", ".join(part if isinstance(part, str) else str(part["name"]) for part in parts)


class Activations(Parts):
    """How activations are binarized, where that differs from what `mode` says."""

    mode: Annotated[Annotated[Text, AfterValidator(_known_activation_mode)] | None, NotNull] = None
    """A mode, or a name from `register_activation_binarizer`, whose binarizers activations get."""

    levels: Annotated[Part | None, PartOf(activation_levels)] = None
    """The two levels, their thresholds and how these start: `zero_scale` (NNCF), `sign`, `free`."""

    estimator: Annotated[Part | None, PartOf(estimators)] = None
    """What counts as the derivative: `window` (NNCF), `approx_sign`, `swish_sign`, `ede`, `reste`."""


class Weights(Parts):
    """How weights are binarized, where that differs from what `mode` says."""

    mode: Annotated[Annotated[Text, AfterValidator(known_mode)] | None, NotNull] = None
    """A mode, or a name from `register_weight_binarizer`, whose binarizers weights get."""

    levels: Annotated[Part | None, PartOf(weight_levels)] = None
    """The scale: `filter_mean`, `tensor_mean`, `power_of_two`, `learned`, `one`, `center_distance`."""

    estimator: Annotated[Part | None, PartOf(estimators)] = None
    """What counts as the derivative: `straight_through` (NNCF), `clipped`, `window`, `ede` and others."""

    latent: Annotated[Part | None, PartOf(latent_transforms)] = None
    """What is done before taking the sign: `none` (NNCF), `center`, `standardize`, `clamp_quantiles`."""

    clip: Annotated[Positive | None, NotNull] = None
    """Largest magnitude of latent weights, to which `StagedSchedule` clamps them after each step."""
