"""What a config says about the built-in binarizers."""

from collections.abc import Mapping
from typing import Any, Protocol

from fxbin.binarizers.scale_init import ScaleInit
from fxbin.binarizers.threshold_init import ThresholdInit
from fxbin.binarizers.weight import ScaleAxis

Part = str | Mapping[str, Any]
"""The name of a part, or an object with its name and options."""


class Options(Protocol):
    """Options that a factory of binarizers reads; `fxbin.config.Params` provides them, among others."""

    @property
    def weight_scale_axis(self) -> ScaleAxis:
        """Axis of a weight along which each index has its own scale: ``"output"`` or ``"input"``."""
        ...

    @property
    def activation_scale_init(self) -> ScaleInit:
        """Rule that initializes the scale of activations: ``"quantile"`` or ``"mse"``."""
        ...

    @property
    def activation_threshold_init(self) -> ThresholdInit:
        """Rule that initializes the thresholds of activations: ``"half"`` or ``"mse"``."""
        ...

    @property
    def activation_init_batches(self) -> int:
        """Number of batches from which scale and thresholds are initialized."""
        ...


class ActivationParts(Protocol):
    """The section `activations` of a config; None where the mode decides."""

    @property
    def levels(self) -> Part | None:
        """A part from `fxbin.binarizers.parts.activation_levels`."""
        ...

    @property
    def estimator(self) -> Part | None:
        """A part from `fxbin.binarizers.parts.estimators`."""
        ...


class WeightParts(Protocol):
    """The section `weights` of a config; None where the mode decides."""

    @property
    def levels(self) -> Part | None:
        """A part from `fxbin.binarizers.parts.weight_levels`."""
        ...

    @property
    def estimator(self) -> Part | None:
        """A part from `fxbin.binarizers.parts.estimators`."""
        ...

    @property
    def latent(self) -> Part | None:
        """A part from `fxbin.binarizers.parts.latent_transforms`."""
        ...
