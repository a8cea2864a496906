"""The options in the `params` section of a config that the built-in binarizers read."""

from typing import Protocol

from fxbin.binarizers.scale_init import ScaleInit
from fxbin.binarizers.threshold_init import ThresholdInit
from fxbin.binarizers.weight import ScaleAxis


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
