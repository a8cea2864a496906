"""What `fxbin.summary` returns, and how it prints: one row per conv2d call site, then the totals."""

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fxbin.binarized.state import Stage
from fxbin.config.operator_name import short_names
from fxbin.export import ExportMode, SiteExport
from fxbin.report.grid import Column, Grid, Widest
from fxbin.report.html.layer_rows import layer_rows
from fxbin.report.html.notebook import notebook_html
from fxbin.report.rewrite_lines import rewrite_lines
from fxbin.report.site import ReplacedSite, SiteReport
from fxbin.report.target import TARGETS, Target
from fxbin.report.text import as_text
from fxbin.report.units import count_text, shape_text, size_text
from fxbin.tracing import Island, Specialisation

_TOTALS = (
    *("binarized", "macs", "binarized_macs", "binarized_macs_share"),
    *("weight_bits", "full_precision_bits", "compression"),
)
"""Totals in `Summary.to_dict`."""


@dataclass(frozen=True)
class Summary:
    """What `fxbin.summary` returns. Prints as a table of call sites; `to_dict` gives JSON values."""

    model: str
    """Class name of the model."""

    mode: str
    """Name of the weight binarizer: ``"xnor"``."""

    stage: Stage
    """The stage at the moment: which binarizers are enabled."""

    sites: tuple[SiteReport, ...]
    """All conv2d call sites in execution order: of the first example call, of others, of train mode only."""

    others: tuple[SiteReport, ...]
    """Other convolutions and linear layers of eval mode, which stay in full precision."""

    specialisations: tuple[Specialisation, ...]
    """Python values that the model's code depends on, and that the graphs keep as constants."""

    islands: tuple[Island, ...] = ()
    """Modules that run their own code, because it cannot be traced, with the reason."""

    never_ran: tuple[str, ...] = ()
    """Qualified names of conv2d modules that the example inputs did not run; they stay in full precision."""

    target: Target | None = None
    """The runtime that `deployment` is about."""

    deployment: tuple[SiteExport, ...] = ()
    """How `target` will run each binarized call site of eval mode after training, with the reason."""

    replaced: tuple[ReplacedSite, ...] = ()
    """Conv2d call sites that a rewrite has replaced by other layers."""

    @property
    def one_bit(self) -> int:
        """Number of call sites that `target` will run in 1 bit."""
        return sum(site.mode is ExportMode.ONE_BIT for site in self.deployment)

    @property
    def one_bit_macs(self) -> int:
        """Multiply-accumulates of the call sites that `target` will run in 1 bit."""
        names = {site.name for site in self.deployment if site.mode is ExportMode.ONE_BIT}
        return sum(site.macs or 0 for site in self._counted() if site.name in names)

    @property
    def binarized(self) -> int:
        """Number of binarized call sites."""
        return sum(site.binarized for site in self.sites)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one example in eval mode, as far as they are known."""
        return sum(site.macs or 0 for site in self._counted())

    @property
    def binarized_macs(self) -> int:
        """Multiply-accumulates of the binarized call sites."""
        return sum(site.macs or 0 for site in self._counted() if site.binarized)

    @property
    def binarized_macs_share(self) -> float:
        """Share of multiply-accumulates in binarized call sites, from 0 to 1; 0 if none are known."""
        return self.binarized_macs / self.macs if self.macs else 0.0

    @property
    def weight_bits(self) -> int:
        """Bits of all stored weights. A shared weight counts once for each form, binarized or not."""
        stored = {(site.weight_key, site.binarized): site.weight_bits or 0 for site in self._counted()}
        return sum(stored.values())

    @property
    def full_precision_bits(self) -> int:
        """Bits of all weights in their own dtype; a shared weight counts once."""
        weights = {site.weight_key: site.full_precision_bits or 0 for site in self._counted()}
        return sum(weights.values())

    @property
    def compression(self) -> float:
        """Ratio of `full_precision_bits` to `weight_bits`; 1 if no weights are known."""
        return self.full_precision_bits / self.weight_bits if self.weight_bits else 1.0

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the call sites that no total includes, because they are inside modules kept whole."""
        return tuple(site.name for site in self._counted() if site.macs is None)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values, totals included."""
        return {
            "model": self.model,
            "mode": self.mode,
            "stage": str(self.stage),
            **{name: getattr(self, name) for name in _TOTALS},
            "unknown": list(self.unknown),
            "sites": [_plain(site) for site in self.sites],
            "others": [_plain(site) for site in self.others],
            "specialisations": [
                {**_plain(found), "value": repr(found.value)} for found in self.specialisations
            ],
            "islands": [_plain(island) for island in self.islands],
            "never_ran": list(self.never_ran),
            "target": self.target,
            "deployment": [_plain(site) for site in self.deployment],
            "replaced": [_plain(site) for site in self.replaced],
        }

    def __str__(self) -> str:
        return as_text(_table_of(self))

    def __rich__(self) -> RenderableType:
        return _table_of(self)

    def _repr_html_(self) -> str:
        plans = {} if self.target is None else {self.target: self.deployment}
        rows = layer_rows([*self.sites, *self.others], plans)
        return notebook_html(rows, tuple(plans), _totals(self))

    def _counted(self) -> Iterator[SiteReport]:
        """Yield the reports that totals include."""
        yield from (site for site in self.sites if not (site.train_only or site.example_call))
        yield from self.others


def _plain(record: Any) -> dict[str, Any]:
    """The fields of a dataclass, with tuples as lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(record).items()}


def _table_of(report: Summary) -> RenderableType:
    """`report` for a rich console; a narrow one shows module paths instead of hierarchical names."""
    forms = [
        _grid(report, full_names=True),
        _grid(report),
        _grid(report, without={"output"}),
        _grid(report, without={"output", "weight"}),
    ]
    return Group(Widest(forms), *(Text(line) for line in _totals(report)))


def _grid(report: Summary, *, full_names: bool = False, without: Collection[str] = ()) -> Grid:
    columns = [
        Column("conv2d"),
        Column("weight", "right"),
        Column("output", "right"),
        Column("MACs", "right"),
    ]
    columns += [Column("stored", "right"), Column("1 bit", wraps=True)]
    if report.target is not None:
        columns.append(Column(f"in {TARGETS[report.target]}", wraps=True))
    planned = {site.name: site for site in report.deployment}
    short = short_names([site.name for site in report.sites])
    rows = [
        [
            Text(site.name if full_names else short[site.name]),
            Text(shape_text(site.weight_shape)),
            Text(shape_text(site.output_shape)),
            Text("?" if site.macs is None else count_text(site.macs)),
            Text("?" if site.weight_bits is None else size_text(site.weight_bits)),
            _binarized(site),
            *([] if report.target is None else [_planned(planned.get(site.name))]),
        ]
        for site in report.sites
    ]
    kept = [index for index, column in enumerate(columns) if column.title not in without]
    return Grid([columns[index] for index in kept], [[row[index] for index in kept] for row in rows])


def _binarized(site: SiteReport) -> Text:
    when = f" (other_calls[{site.example_call - 1}])" if site.example_call else ""
    return Text(f"yes{when}", "green") if site.binarized else Text(f"no: {site.reason}{when}", "yellow")


def _planned(site: SiteExport | None) -> Text:
    if site is None:
        return Text()
    style = "green" if site.mode is ExportMode.ONE_BIT else "yellow"
    return Text(f"{site.mode}: {site.reason}" if site.reason else str(site.mode), style)


def _totals(report: Summary) -> list[str]:
    """The lines below the table: totals, islands, rewrites, modules that never ran, specialisations."""
    before, after = size_text(report.full_precision_bits), size_text(report.weight_bits)
    count = f"{report.binarized} of {len(report.sites)} conv2d binarized ({report.mode})"
    share = f"{report.binarized_macs_share:.1%} binarized"
    lines = [
        f"{report.model}: {count}, stage: {report.stage}",
        f"multiply-accumulates: {count_text(report.macs)} for one example, {share}",
        f"stored weights: {before} -> {after}, {report.compression:.1f} times smaller",
    ]
    if report.target is not None:
        share = f"{report.one_bit_macs / report.macs:.1%}" if report.macs else "0 %"
        lines.append(
            f"{TARGETS[report.target]} will run {report.one_bit} of {report.binarized} in 1 bit: {share} of "
            "the multiply-accumulates"
        )
    if report.others:
        macs = sum(site.macs or 0 for site in report.others)
        kinds = ", ".join(dict.fromkeys(site.op for site in report.others))
        lines.append(f"counted in full precision: {len(report.others)} {kinds}, {count_text(macs)}")
    if report.unknown:
        lines.append(f"not counted, inside modules kept whole: {', '.join(report.unknown)}")
    lines += [f"runs as plain Python: {island.scope}: {island.reason}" for island in report.islands]
    sites: tuple[SiteReport | ReplacedSite, ...] = (*report.replaced, *report.sites)
    short = short_names([site.name for site in sites])
    lines += rewrite_lines((short[site.name], site.rewrites) for site in sites)
    if report.never_ran:
        # If there are islands, only a run in eval mode tells which modules are called.
        when = " in eval mode" if report.islands else ""
        names = ", ".join(report.never_ran)
        lines.append(f"left in full precision, never ran with the example inputs{when}: {names}")
    lines += [
        f"taken for granted: {found.expression} = {found.value!r} in {found.scope} ({found.location})"
        for found in report.specialisations
    ]
    return lines
