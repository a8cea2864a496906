"""What a notebook shows for `fxbin.summary`: the table of layers, and the totals below it."""

from collections.abc import Sequence

from fxbin.report.html.layer_rows import LayerRow
from fxbin.report.html.layer_table import layer_table
from fxbin.report.html.markup import asset, text
from fxbin.report.target import Target


def notebook_html(rows: Sequence[LayerRow], targets: Sequence[Target], totals: Sequence[str]) -> str:
    """The table of `rows` and the lines `totals`, without a script: notebooks do not run those of others."""
    lines = "".join(f"<div>{text(line)}</div>" for line in totals)
    return f'<div class="fxbin"><style>{asset("table.css")}</style>{layer_table(rows, targets)}{lines}</div>'
