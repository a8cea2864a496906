"""What the binarizers that fxbin has read of the `params` section of a config."""

from typing import Protocol

from fxbin.binarizers.scale_init import ScaleInit
from fxbin.binarizers.threshold_init import ThresholdInit
from fxbin.binarizers.weight import ScaleAxis


class Options(Protocol):
    """The keys, by which a factory tells what to make. `fxbin.config.Params` has them, and more."""

    @property
    def weight_scale_axis(self) -> ScaleAxis:
        """Which axis of a weight has scales of its own."""
        ...

    @property
    def activation_scale_init(self) -> ScaleInit:
        """Where the scale of activations starts."""
        ...

    @property
    def activation_threshold_init(self) -> ThresholdInit:
        """Where their thresholds start."""
        ...

    @property
    def activation_init_batches(self) -> int:
        """How many batches take part in both starts."""
        ...
