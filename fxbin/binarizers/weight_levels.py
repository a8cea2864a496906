"""The two levels of a weight: which scale each filter gets."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

_FILTER = (1, 2, 3)
"""The axes of one filter of a conv2d weight."""

_SMALLEST_VARIANCE = 1e-12
"""Keeps the gradient of a standard deviation finite for a filter of equal weights."""


class WeightLevels(ABC):
    """Base class of rules for levels: frozen dataclasses, whose fields are the options in a config."""

    is_by_filter: ClassVar[bool] = False
    """Whether there is no center, and one scale for each filter or one for all."""

    def parameters(self, w: Tensor) -> dict[str, Tensor]:  # noqa: ARG002  (rules with parameters need it)
        """Initial values of the parameters that the rule needs, by name, for a weight of the shape of `w`."""
        return {}

    @abstractmethod
    def of(
        self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """Center and scale a: the levels are ``center - a`` and ``center + a``; a center of None is 0.

        Each has four axes, 1 or that of `w`. `transformed` is the latent weight after its transformation.
        """


@dataclass(frozen=True)
class FilterMean(WeightLevels):
    """The mean magnitude of each filter, which is optimal in the least-squares sense; no gradient.

    Source: Rastegari et al. 2016 (XNOR-Net), arXiv:1603.05279, eq. (6).
    """

    is_by_filter: ClassVar[bool] = True

    @override
    def of(
        self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """See the base class: the scale is ``(out, 1, 1, 1)``."""
        return None, transformed.detach().abs().mean(_FILTER, keepdim=True)


@dataclass(frozen=True)
class InputMean(WeightLevels):
    """The mean magnitude for each input channel of the filters; it does not factor out of a 1-bit product."""

    @override
    def of(
        self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """See the base class: the scale is ``(1, in / groups, 1, 1)``."""
        return None, transformed.detach().abs().mean((0, 2, 3), keepdim=True)


@dataclass(frozen=True)
class TensorMean(WeightLevels):
    """The mean magnitude of the whole weight; no gradient.

    Source: Zhou et al. 2016 (DoReFa-Net), arXiv:1606.06160, eq. (7).
    """

    is_by_filter: ClassVar[bool] = True

    @override
    def of(
        self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """See the base class: the scale is ``(1, 1, 1, 1)``."""
        return None, transformed.detach().abs().mean((0, *_FILTER), keepdim=True)


@dataclass(frozen=True)
class PowerOfTwo(WeightLevels):
    """The power of two that is nearest, in its exponent, to the mean magnitude of each filter; no gradient.

    Source: Qin et al. 2020 (IR-Net), arXiv:1909.10788, section 3.2 (the shift s of Libra-PB).
    """

    is_by_filter: ClassVar[bool] = True

    @override
    def of(
        self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """See the base class: the scale is ``(out, 1, 1, 1)``."""
        return None, transformed.detach().abs().mean(_FILTER, keepdim=True).log2().round().exp2()


@dataclass(frozen=True)
class One(WeightLevels):
    """No scale: the levels are -1 and 1.

    Source: Hubara et al. 2016, arXiv:1602.02830, section 1.1.
    """

    is_by_filter: ClassVar[bool] = True

    @override
    def of(
        self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """See the base class: the scale is ``(1, 1, 1, 1)``."""
        return None, w.new_ones(1, 1, 1, 1)


@dataclass(frozen=True)
class Learned(FilterMean):
    """A learned factor for each filter on its mean magnitude; the factor starts at 1.

    The paper learns the scale itself. Learning a factor, whose logarithm is the parameter `log_factor`, needs
    no start when the weights are first binarized, and the scale cannot become negative.

    Source: Bulat and Tzimiropoulos 2019 (XNOR-Net++), arXiv:1909.13863, section 4 (case 1).
    """

    @override
    def parameters(self, w: Tensor) -> dict[str, Tensor]:
        """See the base class: `log_factor`, ``(out, 1, 1, 1)``."""
        return {"log_factor": torch.zeros(w.shape[0], 1, 1, 1)}

    @override
    def of(
        self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """See the base class: the scale is ``(out, 1, 1, 1)``."""
        _, mean = super().of(w, transformed, parameters)
        return None, mean * parameters["log_factor"].exp()


@dataclass(frozen=True)
class CenterDistance(WeightLevels):
    """The mean of each filter as the center, and its standard deviation as the scale; gradients flow.

    Use it with the transformation ``standardize``, whose sign changes at the mean.

    Source: Tu et al. 2022 (AdaBin), arXiv:2208.08084, section 3.2 (weight equalization).
    """

    @override
    def of(
        self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """See the base class: center and scale are ``(out, 1, 1, 1)``."""
        center = w.mean(_FILTER, keepdim=True)
        variance = (w - center).square().mean(_FILTER, keepdim=True)
        return center, (variance + _SMALLEST_VARIANCE).sqrt()
