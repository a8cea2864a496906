"""The state of a model's binarizers at run time, which `model.binarization` gives access to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from torch import nn

from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.config import Config
from fxbin.errors import ScopeError, TransformError
from fxbin.graph.node_info import SiteRewrite


class Stage(StrEnum):
    """A stage of staged training: what is binarized. The value is the name that users see."""

    FULL_PRECISION = "full precision"
    ACTIVATIONS = "activations"
    WEIGHTS_ONLY = "weights only"
    BINARIZED = "activations and weights"
    ANNEALING = "learning rate falls"


@dataclass(frozen=True)
class Site:
    """One binarized conv2d call site and its two binarizers."""

    name: str
    """Hierarchical name of the call site: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    activation: ActivationBinarizer
    """Binarizer of the input, of this call site only."""

    weight: WeightBinarizer
    """Binarizer of the weight, shared with other call sites that use the same weight."""


def epoch_text(epoch: float | None, fraction: float) -> str:
    """Where a schedule is that has started `epoch`, of which the share `fraction` is done.

    At the end of an epoch the stage is still its own: the next one begins when its epoch is started.

    >>> epoch_text(1, 0.5), epoch_text(1, 1.0)
    ('epoch 1.5', 'epoch 1, finished')
    """
    if epoch is None:
        return "no epoch started"
    return f"epoch {epoch:g}, finished" if fraction == 1 else f"epoch {epoch + fraction:g}"


class BinarizationState:
    """The binarizers of one model, as ``model.binarization``: shows which are enabled, and switches them.

    It is a live view: all state is in the binarizers, and so in the model's `state_dict`.

    The stage is not stored, but follows from the enabled binarizers. `Stage.ANNEALING` concerns the optimizer
    only, so `StagedSchedule.stage` reports it, and `stage` here does not.
    """

    def __init__(
        self,
        config: Config,
        sites: Iterable[Site],
        rewrites: Mapping[str, tuple[SiteRewrite, ...]] = MappingProxyType({}),
    ) -> None:
        self.config = config
        """The config of the transform."""
        self.sites = {site.name: site for site in sites}
        """The binarized call sites by name."""
        self.rewrites = dict(rewrites)
        """What `compression.rewrites` has changed around each call site by name, or why nothing."""
        self.started: tuple[float, float, float] | None = None
        """The epoch that a schedule has started last, and its start epochs of activations and weights."""
        self.fraction = 0.0
        """The share of that epoch that is done, as the schedule was told last."""

    def __repr__(self) -> str:
        epoch = epoch_text(self.started[0] if self.started is not None else None, self.fraction)
        activations = sum(site.activation.is_enabled for site in self.sites.values())
        weights = sum(site.weight.is_enabled for site in self.sites.values())
        return (
            f"<BinarizationState: stage {str(self.stage)!r}, {epoch}; of {len(self.sites)} call sites, "
            f"{activations} have binarized activations and {weights} binarized weights>"
        )

    @property
    def binarizers(self) -> list[Binarizer]:
        """All binarizers, without duplicates if call sites share one."""
        return list(dict.fromkeys(b for site in self.sites.values() for b in (site.activation, site.weight)))

    def parameters(self) -> list[nn.Parameter]:
        """All parameters of the binarizers: scales, thresholds, and those of user-defined binarizers."""
        return [parameter for binarizer in self.binarizers for parameter in binarizer.parameters()]

    @property
    def enabled(self) -> dict[str, tuple[bool, bool]]:
        """For each call site by name: whether its activations and whether its weights are binarized."""
        return {
            name: (site.activation.is_enabled, site.weight.is_enabled) for name, site in self.sites.items()
        }

    @property
    def stage(self) -> Stage:
        """The current stage, by the enabled binarizers; one that is enabled suffices for its kind."""
        activations = any(site.activation.is_enabled for site in self.sites.values())
        weights = any(site.weight.is_enabled for site in self.sites.values())
        if activations and weights:
            return Stage.BINARIZED
        if activations:
            return Stage.ACTIVATIONS
        return Stage.WEIGHTS_ONLY if weights else Stage.FULL_PRECISION

    def check_follows(self, other: "BinarizationState") -> None:
        """Raise TransformError unless this is the state of a copy of the model of `other`."""
        if self is other or [*self.sites] != [*other.sites]:
            what = "the model itself" if self is other else "a model with other call sites"
            raise TransformError(f"followers: expected copies of the model (copy.deepcopy), got {what}")

    def follow(self, other: "BinarizationState") -> None:
        """Copy the flags of `other`: which binarizers are enabled, and which scales are initialized."""
        for own, its in zip(self.binarizers, other.binarizers, strict=True):
            for name in own.flags:
                own.get_buffer(name).copy_(its.get_buffer(name))

    def enable(
        self,
        activations: bool | None = None,
        weights: bool | None = None,
        sites: Iterable[str] | None = None,
    ) -> None:
        """Switch binarizers on (True) or off (False), or leave them as they are (None).

        `sites` are the names of the call sites to switch, by default all. If neither `activations` nor
        `weights` is given, both are switched on.
        Raises ScopeError if a name in `sites` is not a binarized call site; nothing changes then.
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
