"""`fxbin.write_report`: a page about a model, for a browser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from fxbin.atomic_write import replace_file
from fxbin.errors import ExportError
from fxbin.export.output_file import check_writable_file, explained_writing
from fxbin.export.output_path import checked_order
from fxbin.report.benchmark import BenchmarkReport
from fxbin.report.page.content import content_of
from fxbin.report.page.whole_page import page


def write_report(
    model: nn.Module,
    path: str | Path,
    *,
    inputs: object = None,
    epochs: Sequence[Mapping[str, Any]] = (),
    timings: BenchmarkReport | None = None,
    title: str | None = None,
) -> None:
    """Write a page about a transformed model to `path`: one HTML file that needs no network.

    It has the layers with their costs and, for each runtime, whether they run in 1 bit or why not; the graph,
    folded by module; and what else is given.

    Args:
        model: the model that `fxbin.transform` returned, in training or trained.
        path: the file to write; its name ends in ``.html``.
        inputs: a batch, or a tuple of the arguments of ``forward``, for histograms of activations around
            their thresholds. The model runs once, in eval mode.
        epochs: one mapping for each epoch, drawn as curves: ``"stage"``, ``str(schedule.stage)``;
            ``"diagnostics"``, ``DiagnosticsReport.to_dict()``; and any numbers by name, such as ``"loss"``
            and ``"test_accuracy"``: of Python, NumPy or in a tensor, also NaN, which the page says; None
            where there is none.
        timings: what `fxbin.benchmark` returned for this model, for sizes and latencies.
        title: heading of the page, by default the class of the model.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ExportError: `path` does not end in ``.html`` or cannot be written; `model` does not run on `inputs`;
            an epoch is no mapping, or has a value that is not a number, or diagnostics of another model;
            `timings` are not those of a benchmark, or of another network; `title` is no text. An existing
            file is kept then.
    """
    path = checked_order(model, path, "fxbin.write_report", ".html")
    check_report_path(path, "path")
    content = content_of(model, title=title, inputs=inputs, epochs=epochs, timings=timings)
    save_page(page(content), path, "path")


def check_report_path(path: Path, option: str) -> None:
    """Raise ExportError unless `path`, the value of `option`, ends in ``.html`` and can be written."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise ExportError(f"{option}: expected a name that ends in .html, got {str(path)!r}")
    check_writable_file(path, option)


def save_page(text: str, path: Path, option: str) -> None:
    """Write the page `text` to `path`, the value of `option`, and make its folder.

    Raises ExportError if it cannot be written; an existing file is kept then.
    """
    with explained_writing(path, option):
        replace_file(path, text)
