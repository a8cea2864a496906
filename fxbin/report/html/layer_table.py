"""The table of layers as HTML, for the page and for notebooks."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from fxbin.report.html.layer_rows import LayerRow, runs_in_one_bit
from fxbin.report.html.markup import COPY_BUTTON, breakable, text, unbroken
from fxbin.report.target import TARGETS, Target
from fxbin.report.units import count_text, shape_text, size_text

BY = "\N{MULTIPLICATION SIGN}"
NONE = "\N{EN DASH}"

NAME = 24
"""Characters up to which a name stays on one line, where a window of 1200 pixels has room for all columns."""

WORD = 28
"""The same for a word of a reason, such as a pattern."""


def heading(target: Target) -> str:
    """The heading of the column about `target`."""
    return TARGETS[target].removeprefix("the ")


@dataclass(frozen=True)
class Cell:
    """One cell: what it shows, what it is sorted by, and how it looks."""

    shown: str
    """HTML."""

    value: float | str = ""
    """What the column is sorted by; empty for the text that is shown."""

    kind: str = ""
    """CSS class."""

    share: float | None = None
    """Length of the bar behind it, from 0 to 1; None for no bar."""

    tip: str = ""
    """Text that is shown when the pointer is on it."""


def layer_table(rows: Sequence[LayerRow], targets: Sequence[Target] = (), *, copies: bool = False) -> str:
    """The table of `rows`, with a column for each of `targets` and, with `copies`, buttons to copy names.

    Columns that have no value in any row are left out.
    """
    if not rows:
        return "<p>No convolutions or linear layers.</p>"
    columns = _columns(rows, targets, copies=copies)
    head = "".join(
        f'<th scope="col" class="{"num" if "num" in cells[0].kind else ""}" aria-sort="none" '
        f'data-column="{index}"><span>{text(title)}</span></th>'
        for index, (title, cells) in enumerate(columns.items())
    )
    body = "".join(_row(row, cells) for row, *cells in zip(rows, *columns.values(), strict=True))
    # What a column is called stands once in a style, not in each of thousands of cells.
    key = f"c{zlib.crc32(' '.join(columns).encode()):x}"
    labels = "".join(
        f'.{key} td:nth-child({number})::before{{content:"{text(title)}"}}'
        for number, title in enumerate(columns, 1)
    )
    return (
        f'<div class="fxbin-layers {key}"><style>@container (max-width: 720px) {{{labels}}}</style>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: LayerRow, cells: Sequence[Cell]) -> str:
    name, binarized = text(row.site.name), int(row.site.binarized)
    return f'<tr title="{name}" data-binarized="{binarized}">{"".join(map(_cell, cells))}</tr>'


def _cell(cell: Cell) -> str:
    bar = "" if cell.share is None else f' style="--share:{100 * cell.share:.1f}%"'
    kind = " ".join(filter(None, [cell.kind, "bar" if bar else ""]))
    tip = f' title="{text(cell.tip)}"' if cell.tip else ""
    value = "" if cell.value == "" else f' data-v="{text(cell.value)}"'
    return f'<td class="{kind}"{value}{bar}{tip}><span>{cell.shown}</span></td>'


def _columns(rows: Sequence[LayerRow], targets: Sequence[Target], *, copies: bool) -> dict[str, list[Cell]]:
    largest = max((row.site.macs or 0 for row in rows), default=0) or 1
    widest = max((row.site.weight_bits or 0 for row in rows), default=0) or 1
    columns = {
        "#": [Cell(str(number), number, "num nr") for number in range(1, len(rows) + 1)],
        "layer": [_name(row, copies=copies) for row in rows],
        "weight": [Cell(text(shape_text(row.site.weight_shape, BY)), "", "num") for row in rows],
        "output": [Cell(text(shape_text(row.site.output_shape, BY)), "", "num") for row in rows],
        "bits": [_bits(row) for row in rows],
        "MACs": [_macs(row, largest) for row in rows],
        "memory": [_memory(row, widest) for row in rows],
        "fires": [_share(row.fired) for row in rows],
        "flips": [_share(row.flipped) for row in rows],
        "precision": [_precision(row) for row in rows],
    }
    columns |= {heading(target): [_planned(row, target) for row in rows] for target in targets}
    optional = {"fires", "flips", *(heading(target) for target in targets)}
    return {
        title: cells
        for title, cells in columns.items()
        if title not in optional or any(cell.shown != NONE for cell in cells)
    }


def _name(row: LayerRow, *, copies: bool) -> Cell:
    button = COPY_BUTTON if copies else ""
    kind = "" if row.site.op == "conv2d" else f' <small class="op">{text(row.site.op)}</small>'
    name = unbroken(row.entry, NAME) if len(row.entry) <= NAME else breakable(row.entry)
    return Cell(f"<code>{name}</code>{kind}{button}", row.entry if copies else "", "name")


def _bits(row: LayerRow) -> Cell:
    if row.site.binarized:
        return Cell("1 / 1", 1, "num", tip="bits of a weight and of an activation")
    shape, bits = row.site.weight_shape, row.site.full_precision_bits
    if shape is None or bits is None:
        return Cell("?", "", "num")
    count = 1
    for size in shape:
        count *= size
    each = bits // max(count, 1)
    return Cell(str(each), each, "num")


def _macs(row: LayerRow, largest: int) -> Cell:
    macs = row.site.macs
    if macs is None:
        return Cell("?", -1, "num")
    return Cell(text(count_text(macs)), macs, "num", macs / largest)


def _memory(row: LayerRow, widest: int) -> Cell:
    bits, before = row.site.weight_bits, row.site.full_precision_bits
    if bits is None or before is None:
        return Cell("?", -1, "num")
    return Cell(text(size_text(bits)), bits, "num", bits / widest, f"{size_text(before)} in full precision")


def _share(value: float | None) -> Cell:
    if value is None:
        return Cell(NONE, -1, "num none")
    return Cell(f"{100 * value:.1f}\N{NARROW NO-BREAK SPACE}%", value, "num")


def _precision(row: LayerRow) -> Cell:
    return Cell(unbroken(row.precision, WORD), "", f"why {'ok' if row.site.binarized else 'no'}")


def _planned(row: LayerRow, target: Target) -> Cell:
    found = row.runtimes.get(target)
    if found is None:
        return Cell(NONE, "", "why none")
    if runs_in_one_bit(found):
        return Cell("1 bit", "", "why ok", tip=found.reason)
    said = f"{found.mode}: {found.reason}" if found.reason else str(found.mode)
    return Cell(unbroken(said, WORD), "", "why no")
