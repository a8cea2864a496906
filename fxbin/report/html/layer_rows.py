"""The rows of the layer table: what `summary` knows of each layer, and what the training has recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fxbin.config.operator_name import short_names
from fxbin.export import ExportMode, SiteExport
from fxbin.report.site import SiteReport
from fxbin.report.target import Target

Plans = Mapping[Target, Sequence[SiteExport]]
"""How each runtime will run the binarized call sites."""


@dataclass(frozen=True)
class LayerRow:
    """One layer with a weight, as a row of the table. Unknown values are None."""

    site: SiteReport
    """What `summary` says about it."""

    entry: str
    """The shortest entry of `ignored_scopes` that selects it."""

    fired: float | None
    """Share of its activations that fired in the last epoch, from 0 to 1."""

    flipped: float | None
    """Share of its weights whose sign changed in the last epoch, from 0 to 1."""

    runtimes: Mapping[Target, SiteExport]
    """How each runtime will run it after training."""

    @property
    def precision(self) -> str:
        """``"1 bit"``, or why it is not binarized."""
        when = ", in train mode only" if self.site.train_only else ""
        when += f" (other_calls[{self.site.example_call - 1}])" if self.site.example_call else ""
        return f"1 bit{when}" if self.site.binarized else f"{self.site.reason or 'full precision'}{when}"


def layer_rows(
    sites: Sequence[SiteReport], plans: Plans, diagnostics: Mapping[str, Any] | None = None
) -> list[LayerRow]:
    """A row for each of `sites`.

    `diagnostics` is the `DiagnosticsReport.to_dict()` of the last epoch.
    """
    planned = {target: {site.name: site for site in sites} for target, sites in plans.items()}
    recorded = {site["name"]: site for site in (diagnostics or {}).get("sites", ())}
    entries = short_names([site.name for site in sites])
    return [
        LayerRow(
            site=site,
            entry=entries[site.name],
            fired=recorded.get(site.name, {}).get("fired"),
            flipped=recorded.get(site.name, {}).get("flipped"),
            runtimes={target: known[site.name] for target, known in planned.items() if site.name in known},
        )
        for site in sites
    ]


def runs_in_one_bit(planned: SiteExport) -> bool:
    """Whether a runtime runs a call site in 1 bit."""
    return planned.mode is ExportMode.ONE_BIT
