"""Gradient estimators: what stands for the derivative of a step, which is 0 almost everywhere.

A binarizer computes ``y = low`` or ``high``, which is ``(low + high) / 2 + (high - low) / 2 * sign(u)`` with
the distance to the threshold ``u = (x - threshold) / unit``. An estimator says what counts as the derivative
of ``sign(u)``. For activations the unit is half of the distance between the levels; for weights it is 1, and
u is the transformed latent weight.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from fxbin.binarizers.part_options import check_number, check_order


class Estimator(ABC):
    """Base class of estimators: frozen dataclasses, whose fields are the options in a config."""

    follows_progress: ClassVar[bool] = False
    """Whether the derivative depends on the progress of the training, which `StagedSchedule` sets."""

    is_scaled: ClassVar[bool] = True
    """For weights: whether the scale of the weight multiplies the gradient, as the chain rule has it."""

    @abstractmethod
    def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
        """What counts as the derivative of ``sign(u)``: same shape and dtype as `u`; or bool, for 0 and 1.

        `progress`, 0-d, is the share of the training with this binarizer that is over, from 0 to 1; None if
        `follows_progress` is false. It is finite where u is; NaN in u should not become a finite number.
        """


@dataclass(frozen=True)
class StraightThrough(Estimator):
    """1 everywhere: the gradient passes unchanged, whatever the scale. NNCF's estimator of weights.

    Source: Bengio et al. 2013, arXiv:1308.3432, section 4.
    """

    is_scaled: ClassVar[bool] = False

    @override
    def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
        return torch.ones_like(u)


@dataclass(frozen=True)
class Window(Estimator):
    """1 where ``abs(u) <= width``, else 0.

    With the levels ``zero_scale`` and the width 1, the window of x is [0, s] wherever the threshold lies, and
    the gradients are NNCF's, see `fxbin.binarizers.straight_through.BinarizeActivation`.

    Source: Hubara et al. 2016, arXiv:1602.02830, section 1.3 (hard tanh).
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "width", above=0)

    @override
    def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
        return (u.abs() <= self.width).to(u.dtype)


@dataclass(frozen=True)
class Clipped(Window):
    """For weights: the gradient passes unchanged, whatever the scale, where ``abs(u) <= width``.

    Source: as `Window`; XNOR-Net, arXiv:1603.05279, section 3.1, clips so.
    """

    is_scaled: ClassVar[bool] = False


@dataclass(frozen=True)
class ApproxSign(Estimator):
    """``2 - 2 abs(u)`` where ``abs(u) <= 1``, else 0: the derivative of a piecewise quadratic function.

    Source: Liu et al. 2018 (Bi-Real Net), arXiv:1808.00278, section 3.3 (ApproxSign).
    """

    @override
    def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
        return (2 - 2 * u.abs()).clamp(min=0)


@dataclass(frozen=True)
class SwishSign(Estimator):
    """``beta (2 - z tanh(z / 2)) / (1 + cosh(z))`` with ``z = beta u``; slightly negative away from 0.

    It is the derivative of ``2 sigmoid(z) (1 + z (1 - sigmoid(z))) - 1``.

    Source: Darabi et al. 2018 (BNN+), arXiv:1812.11800, section 3.1 (SwishSign).
    """

    beta: float = 5.0

    def __post_init__(self) -> None:
        check_number(self, "beta", above=0)

    @override
    def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
        z = self.beta * u
        # 1 / (1 + cosh(z)) = 2 sigmoid(z) sigmoid(-z), which does not overflow.
        return 2 * self.beta * z.sigmoid() * (-z).sigmoid() * (2 - z * (z / 2).tanh())


@dataclass(frozen=True)
class EDE(Estimator):
    """``k t (1 - tanh(t u) ** 2)``: wide at first, close to a step in the end (error decay estimator).

    ``t = t_min (t_max / t_min) ** progress`` and ``k = max(1 / t, 1)``.

    Source: Qin et al. 2020 (IR-Net), arXiv:1909.10788, section 3.3 (EDE).
    """

    t_min: float = 0.1
    t_max: float = 10.0

    follows_progress: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number(self, "t_min", above=0)
        check_number(self, "t_max", above=0)
        check_order(self, "t_min", "t_max")

    @override
    def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
        assert progress is not None
        t = (math.log(self.t_min) + progress * math.log(self.t_max / self.t_min)).exp().to(u.dtype)
        k = (1 / t).clamp(min=1)
        return k * t * (1 - (t * u).tanh().square())

    def at(self, progress: float) -> tuple[float, float]:
        """The numbers t and k at this `progress`."""
        t = self.t_min * (self.t_max / self.t_min) ** progress
        return t, max(1 / t, 1.0)


@dataclass(frozen=True)
class ReSTE(Estimator):
    """``abs(u) ** (1 / o - 1) / o`` where ``small < abs(u) <= bound``; the derivative of a power of u.

    It is ``small ** (1 / o - 1)`` nearer to 0 and 0 beyond `bound`. ``o = 1 + progress (o_end - 1)``: at
    first a window, then ever closer to a step.

    Source: Wu et al. 2023, arXiv:2308.06689, section 3 (ReSTE); the defaults are those of its authors' code.
    """

    o_end: float = 3.0
    bound: float = 1.5
    small: float = 0.1

    follows_progress: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number(self, "o_end", least=1)
        check_number(self, "bound", above=0)
        check_number(self, "small", above=0)
        check_order(self, "small", "bound")

    @override
    def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
        assert progress is not None
        o = (1 + progress * (self.o_end - 1)).to(u.dtype)
        size = u.abs()
        power = size.clamp(min=self.small) ** (1 / o - 1)
        inside = torch.where(size > self.small, power / o, power)
        return torch.where(size > self.bound, torch.zeros_like(u), inside)
