"""The text of a summary: a table with one row per conv2d call site, then the totals."""

import io
import math
import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fxbin.export import ExportMode

if TYPE_CHECKING:
    from fxbin.export import SiteExport
    from fxbin.report.site import SiteReport
    from fxbin.report.summary import Summary

_UNBOUNDED = 10_000
"""Width in columns where no terminal limits it, so that each row is one line of any length."""

_TARGETS = {"openvino": "OpenVINO"}
"""Spelling of each `Target` in the table."""


def report_table(report: "Summary") -> RenderableType:
    """`report` for a rich console; a narrow one shows module paths instead of hierarchical names."""
    return Group(_Sites(report), *(Text(line) for line in _totals(report)))


def as_text(renderable: RenderableType) -> str:
    """`renderable` as text without colours, as wide as the terminal, or unlimited if there is none."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = Console().width if on_terminal else _UNBOUNDED
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")


class _Sites:
    """The table of call sites, in the widest form that fits the console."""

    def __init__(self, report: "Summary") -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        forms = [
            _table(self._report, full_names=full_names, with_output=with_output)
            for full_names, with_output in ((True, True), (False, True), (False, False))
        ]
        # A measurement never exceeds the given width, so it is taken without a limit.
        unbounded = options.update(width=_UNBOUNDED)
        fits = (t for t in forms if Measurement.get(console, unbounded, t).maximum <= options.max_width)
        yield next(fits, forms[-1])


def _table(report: "Summary", *, full_names: bool, with_output: bool) -> Table:
    # A Markdown table, so that it can be pasted from a log into an issue.
    table = Table(box=box.MARKDOWN, header_style="bold")
    table.add_column("conv2d", overflow="fold")
    table.add_column("weight", justify="right", overflow="fold")
    if with_output:
        table.add_column("output", justify="right", overflow="fold")
    table.add_column("MACs", justify="right")
    table.add_column("stored", justify="right")
    table.add_column("1 bit", overflow="fold")
    planned = {site.name: site for site in report.deployment}
    if report.target is not None:
        table.add_column(f"in {_TARGETS[report.target]}", overflow="fold")
    for site in report.sites:
        output = (_shape(site.output_shape),) if with_output else ()
        table.add_row(
            Text(site.name if full_names else _short_name(site)),
            _shape(site.weight_shape),
            *output,
            "?" if site.macs is None else _count(site.macs),
            "?" if site.weight_bits is None else _bytes(site.weight_bits),
            _binarized(site),
            *([] if report.target is None else [_planned(planned.get(site.name))]),
        )
    return table


def _binarized(site: "SiteReport") -> Text:
    when = f" (other_calls[{site.example_call - 1}])" if site.example_call else ""
    return Text(f"yes{when}", "green") if site.binarized else Text(f"no: {site.reason}{when}", "yellow")


def _planned(site: "SiteExport | None") -> Text:
    if site is None:
        return Text()
    style = "green" if site.mode is ExportMode.ONE_BIT else "yellow"
    return Text(f"{site.mode}: {site.reason}" if site.reason else str(site.mode), style)


def _short_name(site: "SiteReport") -> str:
    operator = site.name.rpartition("/")[2]
    if not site.owner:
        return operator
    return site.owner if operator == "conv2d_0" else f"{site.owner}/{operator}"


def _totals(report: "Summary") -> list[str]:
    """The lines below the table: totals, islands, modules that never ran, specialisations."""
    before, after = _bytes(report.full_precision_bits), _bytes(report.weight_bits)
    count = f"{report.binarized} of {len(report.sites)} conv2d binarized ({report.mode})"
    share = f"{report.binarized_macs_share:.1%} binarized"
    lines = [
        f"{report.model}: {count}, stage: {report.stage}",
        f"multiply-accumulates: {_count(report.macs)} for one example, {share}",
        f"stored weights: {before} -> {after}, {report.compression:.1f} times smaller",
    ]
    if report.target is not None:
        share = f"{report.one_bit_macs / report.macs:.1%}" if report.macs else "0 %"
        lines.append(
            f"{_TARGETS[report.target]} will run {report.one_bit} of {report.binarized} in 1 bit: {share} of "
            "the multiply-accumulates"
        )
    if report.others:
        macs = sum(site.macs or 0 for site in report.others)
        kinds = ", ".join(dict.fromkeys(site.op for site in report.others))
        lines.append(f"counted in full precision: {len(report.others)} {kinds}, {_count(macs)}")
    if report.unknown:
        lines.append(f"not counted, inside modules kept whole: {', '.join(report.unknown)}")
    lines += [f"runs as it is: {island.scope}: {island.reason}" for island in report.islands]
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


def _shape(shape: tuple[int, ...] | None) -> str:
    return "?" if shape is None else "x".join(map(str, shape))


def _count(number: float) -> str:
    return _scaled(number, 1000, ("", " k", " M", " G", " T"))


def _bytes(bits: int) -> str:
    return _scaled(math.ceil(bits / 8), 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def _scaled(number: float, step: int, units: tuple[str, ...]) -> str:
    """`number` with three digits and the largest of `units`, each `step` times the one before."""
    power = 0
    while number >= step and power < len(units) - 1:
        number, power = number / step, power + 1
    digits = 0 if power == 0 or number >= 100 else 1 if number >= 10 else 2
    return f"{number:.{digits}f}{units[power]}"
