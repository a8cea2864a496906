"""Curves over the epochs as SVG, with the stages as bands.

The SVG is stretched to whatever width there is, and its strokes and the text beside it keep their size. So
text is HTML at the right position, not part of the SVG.
"""

import math
from collections.abc import Sequence
from typing import TypeGuard

from fxbin.report.html.markup import data_script, text
from fxbin.report.page.curve_data import (
    Chart,
    Curve,
    Epochs,
    StageBand,
    charts,
    epoch_numbers,
    labelled_epochs,
    stage_bands,
)

COLOURS = 6
"""Number of colours for curves and for stages in the style sheet."""


def curves_section(epochs: Epochs, best: int | None = None) -> str:
    """All charts of `epochs`, a legend of the stages, and the numbers for the pointer.

    A line marks the epoch at position `best`, which is in `best.pt`.
    """
    bands, found, epoch_number = stage_bands(epochs), charts(epochs), epoch_numbers(epochs)
    colours = _stage_colours(bands)
    mark = "" if best is None else f'<path class="best" d="M{best + 0.5:g} 0V100"/>'
    drawn = "".join(_chart(chart, bands, colours, epoch_number, mark) for chart in found)
    numbers = {
        "best": best,
        "numbers": epoch_number,
        "stages": [str(epoch.get("stage", "")) for epoch in epochs],
        "charts": [
            [[curve.label, [*map(_as_json, curve.values)]] for curve in chart.curves] for chart in found
        ],
    }
    legend = _stage_legend(bands, colours, epoch_number, best)
    if not found:
        drawn = '<p class="note">The epochs have recorded no numbers.</p>'
    return f'{legend}<div class="charts">{drawn}</div>{data_script("epochs", numbers)}'


def _stage_colours(bands: Sequence[StageBand]) -> dict[str, int]:
    names = dict.fromkeys(band.stage for band in bands)
    return {name: position % COLOURS for position, name in enumerate(names)}


def _as_json(value: float | None) -> float | str | None:
    """`value` as JSON can hold it: what is not finite as text."""
    return value if value is None or math.isfinite(value) else _spelled(value)


def _stage_legend(
    bands: Sequence[StageBand], colours: dict[str, int], numbers: Sequence[int], best: int | None
) -> str:
    entries = "".join(
        f'<li><i class="band{colours[band.stage]}"></i>{text(band.stage or "no stage")} '
        f"<small>{_epochs(band, numbers)}</small></li>"
        for band in bands
    )
    if best is not None:
        entries += f'<li><i class="best"></i>best.pt <small>epoch {numbers[best]}</small></li>'
    return f'<ol class="stages">{entries}</ol>'


def _epochs(band: StageBand, numbers: Sequence[int]) -> str:
    first, last = numbers[band.first], numbers[band.last]
    return f"epoch {first}" if first == last else f"epochs {first}\N{EN DASH}{last}"


def _chart(
    chart: Chart, bands: Sequence[StageBand], colours: dict[str, int], numbers: Sequence[int], mark: str
) -> str:
    """A chart over epochs with these `numbers`; `mark` is drawn over its stages, behind its lines."""
    count = len(numbers)
    drawn = [value for curve in chart.curves for value in curve.values if _can_be_drawn(value)]
    ticks = nice_ticks(min(drawn, default=0.0), max(drawn, default=1.0))
    low, high = ticks[0], ticks[-1]
    rects = "".join(
        f'<rect x="{band.first}" width="{band.last - band.first + 1}" y="0" height="100" '
        f'class="band{colours[band.stage]}"/>'
        for band in bands
    )
    grid = "".join(f'<path class="grid" d="M0 {_y(tick, low, high):.2f}H{count}"/>' for tick in ticks)
    lines = "".join(_line(curve, number, low, high) for number, curve in enumerate(chart.curves))
    labels = "".join(
        f'<span class="ytick" style="top:{_y(tick, low, high):.2f}%">{tick:.6g}</span>' for tick in ticks
    )
    legend = "".join(
        f'<li><i class="line{number % COLOURS}"></i>{text(curve.label)} <b>{_last(curve)}</b></li>'
        for number, curve in enumerate(chart.curves)
    )
    return (
        f'<figure class="chart"><figcaption>{text(chart.title)}</figcaption><ul class="legend">{legend}</ul>'
        f'<div class="plot"><svg viewBox="0 0 {count} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{text(chart.title)} over {count} epochs">{rects}{grid}{mark}{lines}'
        f'<path class="cursor" d="M0 0V100"/></svg>{labels}{_epoch_labels(numbers)}</div>'
        '<output class="readout"></output></figure>'
    )


def _line(curve: Curve, number: int, low: float, high: float) -> str:
    """A line through the epochs that have a value, and a dot at each if they are few."""
    points = [
        f"{position + 0.5:g} {_y(value, low, high):.2f}" if _can_be_drawn(value) else None
        for position, value in enumerate(curve.values)
    ]
    path, is_drawing = [], False
    for point in points:
        if point is not None:
            path.append(f"{'L' if is_drawing else 'M'}{point}")
        is_drawing = point is not None
    # A line of no length, with round ends, is a dot that is not stretched with the drawing.
    dots = "".join(f"M{point}h0" for point in points if point is not None)
    marks = f'<path class="dots line{number % COLOURS}" d="{dots}"/>' if len(points) <= 60 else ""
    return f'<path class="line line{number % COLOURS}" d="{"".join(path)}"/>{marks}'


def _y(value: float, low: float, high: float) -> float:
    """Position from the top, in per cent."""
    return 100 * (high - value) / (high - low)


def _can_be_drawn(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _last(curve: Curve) -> str:
    """The last value, also one that is not finite: a run that has diverged shows that."""
    return "" if curve.last is None else _spelled(curve.last)


def _spelled(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.4g}"


def _epoch_labels(numbers: Sequence[int]) -> str:
    """Numbers of some epochs below a chart."""
    return "".join(
        f'<span class="xtick" style="left:{100 * (position + 0.5) / len(numbers):.2f}%">{numbers[position]}'
        "</span>"
        for position in labelled_epochs(numbers)
    )


def nice_ticks(low: float, high: float) -> list[float]:
    """About five round numbers from below `low` to above `high`.

    >>> nice_ticks(0.13, 0.92)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high <= low:
        spread = abs(low) or 1.0
        low, high = low - spread / 2, low + spread / 2
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
