"""What a page about a model shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.errors import ExportError
from fxbin.export import SiteExport
from fxbin.report.activations import ActivationHistogram, activation_histograms
from fxbin.report.benchmark import BenchmarkReport
from fxbin.report.benchmark_check import check_benchmark, check_times_of
from fxbin.report.html.layer_rows import LayerRow, layer_rows
from fxbin.report.page.curve_data import Epochs, last_with_diagnostics, not_finite
from fxbin.report.page.recorded import plain_epochs
from fxbin.report.summarize import planned, summary
from fxbin.report.summary import Summary
from fxbin.report.target import Target


@dataclass(frozen=True)
class Content:
    """Everything on the page, as data."""

    title: str
    """Heading of the page."""

    model: BinarizedModule
    """The transformed model."""

    report: Summary
    """Its summary."""

    rows: tuple[LayerRow, ...]
    """The rows of the layer table."""

    targets: tuple[Target, ...]
    """The runtimes with a column of their own."""

    epochs: Epochs = ()
    """What each epoch of the training has recorded."""

    best: int | None = None
    """Position in `epochs` of the epoch that `best.pt` holds; None if there is no such file."""

    recorded: int | None = None
    """Position in `epochs` of the epoch whose firing and flips are in `rows`; None if there is none."""

    stage: str = ""
    """Stage of the training, with its learning rate; empty for that of the model."""

    histograms: tuple[ActivationHistogram, ...] = ()
    """Activations around their thresholds, as far as they were finite."""

    inputs: str = ""
    """What `histograms` were taken for, as ``"64 held-out pictures"``."""

    timings: BenchmarkReport | None = None
    """Sizes and latencies."""

    facts: Mapping[str, str] = field(default_factory=dict)
    """Further figures, by name: accuracies, data, versions."""

    config: str = ""
    """The config as text."""

    notes: tuple[str, ...] = ()
    """Why parts are missing, a sentence each."""


def content_of(
    model: nn.Module,
    *,
    title: str | None = None,
    inputs: object = None,
    inputs_name: str = "the given inputs",
    epochs: Sequence[Mapping[str, Any]] = (),
    shown: int | None = None,
    best: int | None = None,
    stage: str = "",
    timings: BenchmarkReport | None = None,
    facts: Mapping[str, str] | None = None,
    config: str = "",
    notes: Sequence[str] = (),
) -> Content:
    """Gather the content of a page about `model`; arguments are as in `write_report` and `Content`.

    `inputs_name` says what `inputs` are. `shown` is the position of the epoch after which `model` is what it
    is, by default the last one that has recorded firing and flips.
    Raises ExportError if an argument is wrong.
    """
    model = transformed(model, "write_report")
    epochs = plain_epochs(epochs, model.binarization.sites)
    if timings is not None:
        check_timings(timings, model)
    if title is not None and not isinstance(title, str):
        raise ExportError(f"title: expected text, got {type(title).__name__}")
    recorded = last_with_diagnostics(epochs) if shown is None else shown
    diagnostics = None if recorded is None else epochs[recorded].get("diagnostics")
    histograms, without = ([], []) if inputs is None else histograms_of(model, inputs)
    plans, unknown = _plans(model)
    report = summary(model)
    return Content(
        title=title or type(model).__name__,
        model=model,
        report=report,
        rows=tuple(layer_rows([*report.sites, *report.others], plans, diagnostics)),
        targets=tuple(plans),
        epochs=epochs,
        best=best,
        recorded=recorded if diagnostics else None,
        stage=stage,
        histograms=tuple(histograms),
        inputs=inputs_name,
        timings=timings,
        facts=facts or {},
        config=config,
        notes=(*notes, *unknown, *without, *not_finite(epochs)),
    )


def check_timings(timings: Any, model: BinarizedModule, option: str = "timings") -> None:
    """Raise ExportError unless `timings`, the value of `option`, are those of a benchmark of `model`."""
    if not isinstance(timings, BenchmarkReport):
        raise ExportError(
            f"{option}: expected what fxbin.benchmark returns, or None, got {type(timings).__name__}"
        )
    check_benchmark(timings, option)
    check_times_of(timings, model, option)


def histograms_of(model: BinarizedModule, inputs: object) -> tuple[list[ActivationHistogram], list[str]]:
    """The activations of `model` for `inputs`, as far as they are finite, and why others have no histogram.

    Raises ExportError if it does not run on them.
    """
    try:
        found = activation_histograms(model, _arguments(inputs))
    except Exception as error:  # which any code of the model may raise
        reason = next(iter(str(error).splitlines()), "")
        raise ExportError(
            f"inputs: the model does not run on them: {type(error).__name__}: {reason}. Expected a batch, or "
            "a tuple of the arguments of its forward."
        ) from error
    drawn = [histogram for histogram in found if any(histogram.counts)]
    return drawn, _without_histogram(len(model.binarization.sites), len(found), len(drawn))


def _plans(model: BinarizedModule) -> tuple[dict[Target, tuple[SiteExport, ...]], list[str]]:
    """How each runtime will run `model`, and why that is not known of the others."""
    plans, unknown = {}, []
    for target in get_args(Target):
        try:
            plans[target] = planned(model, target)
        except ExportError as error:
            unknown.append(f"Which layers {target} runs in 1 bit is not known: {error}")
    return plans, unknown


def _without_histogram(sites: int, ran: int, drawn: int) -> list[str]:
    """Why some of the `sites` have no histogram, if `ran` of them ran and `drawn` have one."""
    found = [] if sites else ["No histograms of activations: no convolution is binarized."]
    if ran < sites:
        found.append(
            f"No histograms of activations for {sites - ran} of {sites} convolutions, which did not run."
        )
    if drawn < ran:
        found.append(
            f"No histograms of activations for {ran - drawn} of {sites} convolutions: all that they got was "
            "NaN or infinite."
        )
    return found


def _arguments(inputs: object) -> tuple[Any, ...]:
    """`inputs` as positional arguments: a tensor is the only one."""
    return (
        (inputs,) if isinstance(inputs, torch.Tensor) or not isinstance(inputs, (tuple, list)) else (*inputs,)
    )
