"""Clamps the real values of binarized weights after each optimizer step."""

import torch

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.weight_source import weight_sources
from fxbin.errors import ConfigError


class WeightClip:
    """Keeps the latent weights of a model between -`largest` and `largest`.

    A latent weight that is far from 0 takes many steps to change its sign, and where the estimator passes no
    gradient it never would. Weights whose binarizer is off are left alone.

    Source: Courbariaux et al. 2015 (BinaryConnect), arXiv:1511.00363, section 2.4.
    Errors: ConfigError if a weight is computed from other parameters.
    """

    def __init__(self, model: BinarizedModule, largest: float) -> None:
        self._sources, self._largest = weight_sources(model), largest
        for binarizer, source in self._sources.items():
            if len(source.nodes) != 1:
                raise ConfigError(
                    f"compression.weights.clip: {largest:g}: the weight of {binarizer.name} is computed from "
                    "other parameters, so it cannot be clamped: leave this key out"
                )

    @torch.no_grad()
    def apply(self) -> None:
        """Clamp the weights that are binarized now, in place."""
        for binarizer, source in self._sources.items():
            if binarizer.is_enabled:
                source.value().clamp_(-self._largest, self._largest)
