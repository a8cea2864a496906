"""The report of `Diagnostics`, as data and as a table."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fxbin.binarized.state import Stage
from fxbin.config.operator_name import short_names
from fxbin.report.grid import Column, Grid, Widest
from fxbin.report.text import as_text

HARDLY = 0.001
"""A layer that fires in less than this share of its activations, or in all but this share, gets a warning."""


FIGURES = ("fires", "silent", "flipped", "scale", "threshold", "|grad w|", "|grad s|", "|grad t|")
"""Headings of the table, in the order of `_cells`."""


@dataclass(frozen=True)
class SiteDiagnostics:
    """The diagnostics of one binarized call site between two reports."""

    name: str
    """Hierarchical name: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    activations_binarized: bool
    """Whether its activations are binarized at the time of the report."""

    weights_binarized: bool
    """Whether its weights are binarized at the time of the report."""

    fired: float | None
    """Share of its binarized activations in training that are high, from 0 to 1; None if there were none."""

    channels: int
    """Number of channels of the activations."""

    silent_channels: int | None
    """Number of channels that never fired; None if there were no binarized activations."""

    flipped: float
    """Share of weights whose sign has changed since the last report, also while weights are not binarized."""

    entropy: float
    """Entropy of the signs of the weights in bits, mean over the filters: 1 if both are equally frequent."""

    low: float
    """The low level of the activations, in the units of x."""

    scale: float
    """Distance between the levels of the activations, in the units of x; the high level if the low is 0."""

    threshold: float
    """The bound above which an activation fires, in the units of x: mean over the channels."""

    smallest_threshold: float
    """Smallest bound of all channels, in the units of x."""

    largest_threshold: float
    """Largest bound of all channels, in the units of x."""

    weight_gradient: float | None
    """Norm of the gradient of the real-valued weight, mean over optimizer steps; None without a step.

    If the weight is computed from several parameters, the norm over all of them.
    """

    scale_gradient: float | None
    """Norm of the gradient of the levels' parameters with one value, such as `scale`; mean as above."""

    threshold_gradient: float | None
    """Norm of the gradient of the parameters with one value per channel: thresholds; mean as above."""

    @property
    def warning(self) -> str | None:
        """A problem with the firing rate and what to try; None if there is none."""
        if self.fired is None or not self.activations_binarized:
            return None
        if self.fired < HARDLY:
            return (
                f"{self.name}: {self.fired:.2%} of its activations fire, so that next to nothing passes. Try "
                'params.activation_scale_init: "mse" and params.activation_threshold_init: "mse", a '
                "normalization before it, or leave it in full precision with ignored_scopes."
            )
        if self.fired > 1 - HARDLY:
            return (
                f"{self.name}: {self.fired:.2%} of its activations fire, so that next to nothing but a "
                "constant passes. Give it inputs around 0 (a normalization before it), try "
                'params.activation_threshold_init: "mse", or leave it in full precision with ignored_scopes.'
            )
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values; None for numbers that are not finite."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True)
class DiagnosticsReport:
    """What `Diagnostics` has recorded for one report. Prints as a table; `to_dict` gives JSON values."""

    stage: Stage
    """The stage of the model at the time of the report."""

    sites: tuple[SiteDiagnostics, ...]
    """The diagnostics of each binarized call site."""

    @property
    def fired(self) -> float | None:
        """Mean share of activations that fire, over the call sites that binarize them."""
        return _mean(site.fired for site in self.sites)

    @property
    def flipped(self) -> float | None:
        """Mean share of weight signs that flipped, over the call sites."""
        return _mean(site.flipped for site in self.sites)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of all call sites that fire almost never or almost always."""
        return tuple(site.warning for site in self.sites if site.warning is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole report as JSON values."""
        return {
            "stage": str(self.stage),
            "fired": self.fired,
            "flipped": self.flipped,
            "sites": [site.to_dict() for site in self.sites],
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        return as_text(self.__rich__())

    def __rich__(self) -> RenderableType:
        full = [site.name for site in self.sites]
        short = [*short_names(full).values()]
        # The narrowest form leaves out the scale and the gradients.
        forms = [self._grid(full, range(len(FIGURES))), self._grid(short, range(len(FIGURES)))]
        forms.append(self._grid(short, (0, 1, 2, 4)))
        return Group(Widest(forms), *(Text(warning, "yellow") for warning in self.warnings))

    def _grid(self, names: Sequence[str], figures: Iterable[int]) -> Grid:
        """The table with these `names` of the call sites and some of `FIGURES`."""
        kept = [*figures]
        columns = [Column("conv2d"), *(Column(FIGURES[index], "right") for index in kept)]
        rows = []
        for name, site in zip(names, self.sites, strict=True):
            cells = _cells(site)
            rows.append([Text(name, "yellow" if site.warning else ""), *(cells[index] for index in kept)])
        return Grid(columns, rows)


def _cells(site: SiteDiagnostics) -> list[Text]:
    """The figures of `site`, as the table shows them."""
    silent = "-" if site.silent_channels is None else f"{site.silent_channels} of {site.channels}"
    threshold = f"{site.smallest_threshold:.3g} to {site.largest_threshold:.3g}"
    gradients = map(_number, (site.weight_gradient, site.scale_gradient, site.threshold_gradient))
    said = [_share(site.fired), silent, _share(site.flipped), f"{site.scale:.3g}", threshold, *gradients]
    return [Text(cell) for cell in said]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
