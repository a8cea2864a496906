"""`curves.svg`: loss, accuracy and stage over the epochs of a run."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxbin.errors import DataError
from fxbin.report.page.curve_data import labelled_epochs
from fxbin.train.figure_file import save_figure
from fxbin.train.history import EpochRecord, HasStage, stage_spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

STAGE_COLOURS = {
    "pretraining": "#e8e8e8",
    "full precision": "#d7e7f5",
    "activations": "#fde8cf",
    "weights only": "#f0dcf0",
    "activations and weights": "#f9d4d4",
    "learning rate falls": "#d9efd9",
}
OTHER_COLOUR = "#ffffff"
PARTS = (
    ("label_loss", "on labels", "#1f4e79"),
    ("distillation_loss", "distance to the teacher", "#2e8b57"),
    ("feature_loss", "distance of the features", "#8e5ea2"),
)
"""Parts of the loss: the field of a record, the name in the legend, the colour."""
STYLE: "dict[RcKeyType, Any]" = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    # A fixed salt instead of random ids, so that the same run gives the same SVG file.
    "svg.hashsalt": "fxbin",
}


def draw_curves(history: Sequence[EpochRecord], path: Path) -> None:
    """Draw `history` and write it to `path` (SVG or any other format that its suffix names).

    Epochs are numbered from 1 within their phase; stages are shaded bands with their names above.
    Raises DataError if matplotlib is not installed, or if there is no epoch to draw.
    """
    if not history:
        raise DataError("curves: no epoch has been trained yet, so there is nothing to draw")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("curves need matplotlib: `pip install 'fxbin[train]'`") from error
    # Figure without pyplot needs no display, and changes no global state.
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 6.5), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        epochs = range(1, len(history) + 1)
        held_out = f"held-out images, {history[-1].test_accuracy:.2f} % at the end"
        top.plot(epochs, [r.test_accuracy for r in history], "o-", color="#b22222", ms=4, label=held_out)
        top.plot(epochs, [r.train_accuracy for r in history], "-", color="#777777", label="training images")
        averaged = [r.average_accuracy for r in history]
        if averaged[-1] is not None:
            label = f"averaged network, {averaged[-1]:.2f} % at the end"
            top.plot(epochs, with_gaps(averaged), "--", color="#e07b39", label=label)
        top.set_ylabel("accuracy, %")
        top.legend(loc="best", framealpha=0.9)
        draw_losses(bottom, history)
        bottom.set_xlabel("epoch")
        for axes in (top, bottom):
            shade_stages(axes, history)
        name_stages(top, history)
        save_figure(figure, path)


def draw_losses(axes: "Axes", history: Sequence[EpochRecord]) -> None:
    """Draw the training loss or, where there is a teacher, what it consists of, each with a line of its own.

    The sum jumps up where the distance to the teacher is added, so it is in the background then.
    """
    epochs = range(1, len(history) + 1)
    axes.set_ylabel("training loss")
    values = {part: [getattr(record, part) for record in history] for part, _, _ in PARTS}
    drawn = [entry for entry in PARTS if any(value is not None for value in values[entry[0]])]
    total = [record.loss for record in history]
    if len(drawn) < 2:
        axes.plot(epochs, total, "o-", color="#1f4e79", ms=4, label="training loss")
        return
    for part, label, colour in drawn:
        axes.plot(epochs, with_gaps(values[part]), "o-", color=colour, ms=4, label=label)
    axes.plot(epochs, total, ":", color="#999999", lw=1.2, label="weighted sum")
    axes.legend(loc="best", framealpha=0.9)


def with_gaps(values: Sequence[float | None]) -> list[float]:
    """`values` with NaN, which matplotlib skips, for epochs that have none."""
    return [math.nan if value is None else value for value in values]


def shade_stages(axes: "Axes", history: Sequence[HasStage]) -> None:
    """Draw a coloured band behind the epochs of each stage, and number the epochs as the training does."""
    for stage, first, last in stage_spans(history):
        axes.axvspan(first + 0.5, last + 1.5, color=STAGE_COLOURS.get(stage, OTHER_COLOUR), lw=0, zorder=0)
    axes.set_xlim(0.5, len(history) + 0.5)
    axes.grid(axis="y", color="white", lw=1.2)
    numbers = [record.epoch + 1 for record in history]
    named = labelled_epochs(numbers)
    axes.set_xticks([position + 1 for position in named], [str(numbers[position]) for position in named])


def name_stages(axes: "Axes", history: Sequence[HasStage]) -> None:
    """Write the name of each stage above its band, on several lines if the band is narrow."""
    for stage, first, last in stage_spans(history):
        narrow = (last - first + 1) / len(history) < len(stage) / 70
        axes.annotate(
            stage.replace(" ", "\n") if narrow else stage,
            ((first + last) / 2 + 1, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
        )
