"""Which binarizers of a model are enabled: the runtime state behind `model.binarization`."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from torch import nn

from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.config import Config
from fxbin.errors import ScopeError, TransformError


class Stage(StrEnum):
    """A step of the staged training; the value is the name shown to people."""

    FULL_PRECISION = "full precision"
    ACTIVATIONS = "activations"
    WEIGHTS_ONLY = "weights only"
    BINARIZED = "activations and weights"
    ANNEALING = "learning rate falls"


@dataclass(frozen=True)
class Site:
    """One binarized conv2d call site and the two binarizers in front of it."""

    name: str
    """Hierarchical name of the call site: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    activation: ActivationBinarizer
    weight: WeightBinarizer
    """Shared with the other call sites that use the same weight."""


class BinarizationState:
    """A live view on the binarizers of one model; the model's `state_dict` holds its content.

    The stage is not stored: it is read off what is enabled. `Stage.ANNEALING` is a matter of the
    optimizer and comes only from `StagedSchedule.stage`.
    """

    def __init__(self, config: Config, sites: Iterable[Site]) -> None:
        self.config = config
        self.sites = {site.name: site for site in sites}
        self.started: tuple[float, float, float] | None = None
        """The epoch that a schedule has started last, and its first ones of activations and weights."""

    @property
    def binarizers(self) -> list[Binarizer]:
        """Every binarizer once, also one that several call sites share."""
        return list(dict.fromkeys(b for site in self.sites.values() for b in (site.activation, site.weight)))

    def parameters(self) -> list[nn.Parameter]:
        """The scales and thresholds, and what else the binarizers learn."""
        return [parameter for binarizer in self.binarizers for parameter in binarizer.parameters()]

    @property
    def enabled(self) -> dict[str, tuple[bool, bool]]:
        """For each call site: whether its activations and whether its weights are binarized."""
        return {
            name: (site.activation.is_enabled, site.weight.is_enabled) for name, site in self.sites.items()
        }

    @property
    def stage(self) -> Stage:
        """The stage that what is enabled amounts to; one enabled binarizer counts for its kind."""
        activations = any(site.activation.is_enabled for site in self.sites.values())
        weights = any(site.weight.is_enabled for site in self.sites.values())
        if activations and weights:
            return Stage.BINARIZED
        if activations:
            return Stage.ACTIVATIONS
        return Stage.WEIGHTS_ONLY if weights else Stage.FULL_PRECISION

    def check_follows(self, other: "BinarizationState") -> None:
        """Raise TransformError unless this is the state of another model with the binarizers of `other`."""
        if self is other or [*self.sites] != [*other.sites]:
            what = "the model itself" if self is other else "a model with other call sites"
            raise TransformError(f"followers: expected copies of the model (copy.deepcopy), got {what}")

    def follow(self, other: "BinarizationState") -> None:
        """Have the flags of `other`: what is enabled, and which scales have started."""
        for own, its in zip(self.binarizers, other.binarizers, strict=True):
            for name in own.flags:
                own.get_buffer(name).copy_(its.get_buffer(name))

    def enable(
        self,
        activations: bool | None = None,
        weights: bool | None = None,
        sites: Iterable[str] | None = None,
    ) -> None:
        """Switch binarizers on (True), off (False) or leave them (None); `sites` None means all.

        With neither `activations` nor `weights` given, both are switched on.
        Raises ScopeError if a name in `sites` is not a binarized call site; nothing is changed then.
        """
        chosen = list(self.sites) if sites is None else list(sites)
        for name in chosen:
            if name not in self.sites:
                raise ScopeError(
                    f"sites: {name!r} is not a binarized call site of this model. "
                    "`model.binarization.sites` lists them."
                )
        if activations is None and weights is None:
            activations = weights = True
        for name in chosen:
            site = self.sites[name]
            if activations is not None:
                site.activation.enable() if activations else site.activation.disable()
            if weights is not None:
                site.weight.enable() if weights else site.weight.disable()
