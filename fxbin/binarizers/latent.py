"""Transformations of latent weights: what is done to the real weights before their signs are taken."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from fxbin.binarizers.part_options import check_number, check_order
from fxbin.binarizers.standardized import standardized

_FILTER = (1, 2, 3)
"""The axes of one filter of a conv2d weight."""

_SMALLEST_VARIANCE = 1e-12
"""Keeps the result finite for a filter of equal weights."""


class LatentTransform(ABC):
    """Base class of transformations: frozen dataclasses, whose fields are the options in a config.

    A transformation must be increasing in each weight if the others of its filter stay, so that the sign of
    its result changes at one threshold.
    """

    follows_progress: ClassVar[bool] = False
    """Whether it depends on the progress of the training, which `StagedSchedule` sets."""

    @abstractmethod
    def apply(self, w: Tensor, progress: Tensor | None) -> Tensor:
        """The transformed weight, ``(out, in / groups, kh, kw)`` like `w`; gradients flow through it."""

    @abstractmethod
    def threshold(self, w: Tensor) -> Tensor:
        """The value of w at which the sign of the result changes, ``(out, 1, 1, 1)`` or ``(1, 1, 1, 1)``."""


@dataclass(frozen=True)
class Unchanged(LatentTransform):
    """The weight itself: what NNCF 2.9 does."""

    @override
    def apply(self, w: Tensor, progress: Tensor | None) -> Tensor:
        return w

    @override
    def threshold(self, w: Tensor) -> Tensor:
        """See the base class: 0."""
        return w.new_zeros(1, 1, 1, 1)


@dataclass(frozen=True)
class Center(LatentTransform):
    """The weight minus the mean of its filter, so that both signs are about equally frequent."""

    @override
    def apply(self, w: Tensor, progress: Tensor | None) -> Tensor:
        return w - w.mean(_FILTER, keepdim=True)

    @override
    def threshold(self, w: Tensor) -> Tensor:
        """See the base class: the mean of each filter."""
        return w.mean(_FILTER, keepdim=True)


@dataclass(frozen=True)
class Standardize(Center):
    """The weight minus the mean of its filter, divided by the standard deviation of that.

    Source: Qin et al. 2020 (IR-Net), arXiv:1909.10788, section 3.2 (Libra-PB).
    """

    @override
    def apply(self, w: Tensor, progress: Tensor | None) -> Tensor:
        return standardized(w, _SMALLEST_VARIANCE)


@dataclass(frozen=True)
class ClampQuantiles(Standardize):
    """The standardized weight, clamped to the quantiles 1 - q and q of a Laplace distribution.

    They are ``-Q`` and ``Q = -m log(2 - 2 q)``, where m is the mean magnitude of the filter, a constant for
    gradients. Weights far from 0, which would never change their sign, so stay close enough to do so. q grows
    from `q_min` to `q_max` with the exponential of the progress.

    Source: Xu et al. 2021 (ReCU), arXiv:2103.12369, section 3.2; the defaults are those of its authors' code.
    """

    q_min: float = 0.85
    q_max: float = 0.99

    follows_progress: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number(self, "q_min", above=0.5, below=1)
        check_number(self, "q_max", above=0.5, below=1)
        check_order(self, "q_min", "q_max")

    @override
    def apply(self, w: Tensor, progress: Tensor | None) -> Tensor:
        assert progress is not None
        standard = super().apply(w, progress)
        grown = (progress.exp() - 1) / (math.e - 1)
        q = self.q_min + (self.q_max - self.q_min) * grown
        magnitude = standard.detach().abs().mean(_FILTER, keepdim=True)
        largest = -magnitude * (2 - 2 * q).log().to(w.dtype)
        return torch.minimum(torch.maximum(standard, -largest), largest)
