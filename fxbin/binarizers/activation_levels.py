"""The two levels of an activation: their parameters, and from which batch statistics these start."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from fxbin.binarizers.levels import Levels
from fxbin.binarizers.part_options import check_choice
from fxbin.binarizers.scale_init import ScaleInit, initial_log_scale
from fxbin.binarizers.symmetric_init import initial_log_distance, initial_shift
from fxbin.binarizers.threshold_init import ThresholdInit, initial_threshold_logit

ShiftInit = Literal["mean", "zero"]


class ActivationLevels(ABC):
    """Base class of rules for levels: frozen dataclasses, whose fields are the options in a config."""

    from_params: ClassVar[Mapping[str, str]] = {}
    """Keys of `compression.params` that options are read from which a config does not give, by option."""

    @abstractmethod
    def parameters(self, channels: int) -> dict[str, Tensor]:
        """Initial values of the parameters that the rule needs, by name, for an input with `channels`."""

    @abstractmethod
    def of(self, parameters: Mapping[str, Tensor]) -> Levels:
        """The levels as functions of the parameters, which get their gradients through them.

        The threshold is ``(1, c, 1, 1)`` or ``(1, 1, 1, 1)``, each level ``(1,)``.
        """

    @abstractmethod
    def start(self, x: Tensor, site: str, alone: bool) -> dict[str, Tensor]:
        """Values for the parameters from the first binarized training batch `x`; those left out stay.

        Under torch.distributed the statistics are those of all ranks together, and every rank makes this
        call; with `alone` they are those of this rank. Messages name the call site, `site`.
        """


@dataclass(frozen=True)
class ZeroScale(ActivationLevels):
    """0 and s, with the threshold s t: s = exp(scale), t = sigmoid(threshold), one t for each channel.

    s starts by the rule `scale_init`, see `fxbin.binarizers.scale_init`. t starts at 1/2, or with
    `threshold_init` ``"mse"`` as in `fxbin.binarizers.threshold_init`.

    Source: NNCF 2.9; there is no paper.
    """

    scale_init: ScaleInit = "quantile"
    threshold_init: ThresholdInit = "half"

    from_params: ClassVar[Mapping[str, str]] = {
        "scale_init": "activation_scale_init",
        "threshold_init": "activation_threshold_init",
    }

    def __post_init__(self) -> None:
        check_choice(self, "scale_init", get_args(ScaleInit))
        check_choice(self, "threshold_init", get_args(ThresholdInit))

    @override
    def parameters(self, channels: int) -> dict[str, Tensor]:
        """See the base class: the logarithm `scale` ``(1,)`` and the logits `threshold` ``(1, c, 1, 1)``."""
        return {"scale": torch.zeros(1), "threshold": torch.zeros(1, channels, 1, 1)}

    @override
    def of(self, parameters: Mapping[str, Tensor]) -> Levels:
        s = parameters["scale"].exp()
        return Levels(parameters["threshold"].sigmoid() * s, torch.zeros_like(s), s)

    @override
    def start(self, x: Tensor, site: str, alone: bool) -> dict[str, Tensor]:
        log_scale = initial_log_scale(x, self.scale_init, site, alone)
        found = {"scale": log_scale}
        if self.threshold_init == "mse":
            found["threshold"] = initial_threshold_logit(x, log_scale, alone)
        return found


@dataclass(frozen=True)
class Sign(ActivationLevels):
    """-s and s, with a learned threshold for each channel, the shift: s = exp(scale).

    s starts at the mean distance of the batch from the threshold, which is optimal in the least-squares
    sense, and is learned; with `learned_scale` false it is always 1. The shift starts at the mean of its
    channel, or at 0.

    Source: Liu et al. 2020 (ReActNet), arXiv:2003.03488, section 4.2 (RSign), where s is 1 and the shift
    starts at 0; s as in XNOR-Net, arXiv:1603.05279, section 3.2.
    """

    shift_init: ShiftInit = "mean"
    learned_scale: bool = True

    def __post_init__(self) -> None:
        check_choice(self, "shift_init", get_args(ShiftInit))

    @override
    def parameters(self, channels: int) -> dict[str, Tensor]:
        """See the base class: the logarithm `scale` ``(1,)``, if learned, and `shift` ``(1, c, 1, 1)``."""
        shift = {"shift": torch.zeros(1, channels, 1, 1)}
        return ({"scale": torch.zeros(1)} if self.learned_scale else {}) | shift

    @override
    def of(self, parameters: Mapping[str, Tensor]) -> Levels:
        shift = parameters["shift"]
        s = parameters["scale"].exp() if self.learned_scale else shift.new_ones(1)
        return Levels.symmetric(shift, s)

    @override
    def start(self, x: Tensor, site: str, alone: bool) -> dict[str, Tensor]:
        shift = initial_shift(x, True, alone)
        if self.shift_init == "zero":
            shift = torch.zeros_like(shift)
        if not self.learned_scale:
            return {"shift": shift}
        return {"scale": initial_log_distance(x, shift, site, alone), "shift": shift}


@dataclass(frozen=True)
class Free(ActivationLevels):
    """``center - s`` and ``center + s``, with the threshold in the middle: s = exp(scale), both learned.

    They start at the mean of the batch, and at its mean distance from that.

    Source: Tu et al. 2022 (AdaBin), arXiv:2208.08084, section 3.3.
    """

    @override
    def parameters(self, channels: int) -> dict[str, Tensor]:
        """See the base class: the logarithm `scale` ``(1,)``, and `center` ``(1,)``."""
        return {"scale": torch.zeros(1), "center": torch.zeros(1)}

    @override
    def of(self, parameters: Mapping[str, Tensor]) -> Levels:
        center, s = parameters["center"], parameters["scale"].exp()
        return Levels(center.view(1, 1, 1, 1), center - s, center + s)

    @override
    def start(self, x: Tensor, site: str, alone: bool) -> dict[str, Tensor]:
        center = initial_shift(x, False, alone)
        return {"scale": initial_log_distance(x, center, site, alone), "center": center.view(1)}
