"""The page: one HTML file that holds everything it needs."""

from collections.abc import Iterator

from fxbin.report.html.layer_table import layer_table
from fxbin.report.html.markup import asset, data_script, text
from fxbin.report.page.content import Content
from fxbin.report.page.curve_data import epoch_numbers
from fxbin.report.page.curves import curves_section
from fxbin.report.page.graph_data import graph_data
from fxbin.report.page.histograms import histograms_section
from fxbin.report.page.timings import gains, timings_section
from fxbin.report.units import count_text, size_text

# The browser is told to load nothing: whatever the file names, it makes no request.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

Section = tuple[str, str, str]
"""Id, heading, HTML."""


def page(content: Content) -> str:
    """The whole page about `content`."""
    sections = [section for section in _sections(content) if section[2]]
    links = "".join(f'<a href="#{name}">{text(heading)}</a>' for name, heading, _ in sections)
    body = "".join(
        f'<section id="{name}"><h2>{text(heading)}</h2>{inner}</section>' for name, heading, inner in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{text(content.title)}</title>"
        f"<style>{asset('table.css')}{asset('page.css')}</style></head><body>"
        f"<header><h1>{text(content.title)}</h1>{_headline(content)}<nav>{links}</nav></header>"
        f'<main>{body}</main><div id="copied" role="status" hidden></div>'
        f"<script>{asset('page.js')}</script></body></html>\n"
    )


def _headline(content: Content) -> str:
    report = content.report
    count = f"{report.binarized} of {len(report.sites)} conv2d binarized"
    return f"<p>{count}, stage: {text(content.stage or report.stage)}</p>"


def _sections(content: Content) -> Iterator[Section]:
    yield "overview", "Overview", _tiles(content) + _notes(content)
    yield "curves", "Training", curves_section(content.epochs, content.best) if content.epochs else ""
    yield "layers", "Layers", _layers(content)
    yield "graph", "Graph", _graph(content)
    yield "activations", "Activations around their thresholds", _activations(content)
    yield "speed", "Size and speed", timings_section(content.timings) if content.timings else ""
    yield "about", "About this report", _about(content)


def _tiles(content: Content) -> str:
    report = content.report
    tiles = {
        "conv2d in 1 bit": (f"{report.binarized} of {len(report.sites)}", "binarized call sites"),
        "multiply-accumulates in 1 bit": (
            f"{report.binarized_macs_share:.1%}",
            f"of {count_text(report.macs)} for one example",
        ),
        "weights": (
            size_text(report.weight_bits),
            f"{size_text(report.full_precision_bits)} before, {report.compression:.1f} times smaller",
        ),
    }
    for gain in gains(content.timings) if content.timings else ():
        times = f"{gain.before * 1e3:.2f} ms before, {gain.after * 1e3:.2f} ms in 1 bit"
        tiles[f"faster in {gain.runtime}"] = (f"{gain.before / gain.after:.1f} times", times)
    shown = {**{name: (value, "") for name, value in content.facts.items()}, **tiles}
    return (
        '<div class="tiles">'
        + "".join(
            f"<div><span>{text(name)}</span><b>{text(value)}</b><small>{text(detail)}</small></div>"
            for name, (value, detail) in shown.items()
        )
        + "</div>"
    )


def _notes(content: Content) -> str:
    report = content.report
    lines = [*content.notes]
    lines += [f"Runs as plain Python: {island.scope}: {island.reason}" for island in report.islands]
    if report.never_ran:
        lines.append(f"Never ran with the example inputs: {', '.join(report.never_ran)}")
    if not lines:
        return ""
    return '<ul class="notes">' + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>"


def _layers(content: Content) -> str:
    recorded = ""
    if content.recorded is not None:
        number = epoch_numbers(content.epochs)[content.recorded]
        recorded = (
            f"Fires and flips are those of epoch {number}: the share of activations that were high "
            "in training, and of weights whose sign changed."
        )
    return (
        '<div class="tools"><label>Show <input type="search" id="find" placeholder="part of a name"></label>'
        '<label>Precision <select id="kind"><option value="">all</option><option value="1">1 bit</option>'
        '<option value="0">full</option></select></label>'
        '<label>Sort by <select id="sort"></select></label><output id="count"></output></div>'
        f"{layer_table(content.rows, content.targets, copies=True)}"
        f'<p class="note">Names are entries for <code>ignored_scopes</code>. {recorded}</p>'
    )


def _graph(content: Content) -> str:
    entries = {row.site.name: row.entry for row in content.rows}
    legend = "".join(
        f'<li><i class="dot {kind}"></i>{text(name)}</li>'
        for kind, name in (
            ("binarized_conv2d", "binarized conv2d"),
            ("full_precision_conv2d", "conv2d in full precision"),
            ("activation_binarizer", "binarizes activations"),
            ("weight_binarizer", "binarizes a weight"),
            ("operator", "other operator"),
            ("module", "module, folded"),
        )
    )
    return (
        '<div class="tools"><button type="button" id="fold">fold all</button>'
        '<button type="button" id="unfold">unfold one level</button>'
        '<button type="button" id="unfold-all">unfold all</button></div>'
        f'<ul class="legend">{legend}</ul><div class="graph" tabindex="0"></div>'
        '<div class="detail" aria-live="polite"><p class="note">Data flows downwards. Select a row for its '
        "names and its shape; select a module to unfold it.</p></div>"
        f"{data_script('graph-data', graph_data(content.model, entries))}"
        "<noscript><p>The graph needs JavaScript; <code>fxbin graph</code> draws an image.</p></noscript>"
    )


def _activations(content: Content) -> str:
    if not content.histograms:
        return ""
    entries = {row.site.name: row.entry for row in content.rows}
    return (
        f'<p class="note">What each binarized convolution gets for {text(content.inputs)}, minus the '
        "threshold of its channel: what is right of the line fires. The outer bars also hold what lies "
        "beyond.</p>"
        f"{histograms_section(content.histograms, entries)}"
    )


def _about(content: Content) -> str:
    report = content.report
    lines = [f"{report.model}, binarized with {report.mode}."]
    lines += [
        f"Taken for granted: {found.expression} = {found.value!r} in {found.scope} ({found.location})"
        for found in report.specialisations
    ]
    shown = "".join(f"<p>{text(line)}</p>" for line in lines)
    if content.config:
        shown += f"<details><summary>Config</summary><pre>{text(content.config)}</pre></details>"
    return shown
