"""What a page about a model shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.errors import ExportError
from fxbin.report.activations import ActivationHistogram, activation_histograms
from fxbin.report.benchmark import BenchmarkReport
from fxbin.report.html.layer_rows import LayerRow, layer_rows
from fxbin.report.page.curve_data import Epochs, last_diagnostics
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

    histograms: tuple[ActivationHistogram, ...] = ()
    """Activations around their thresholds."""

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
    epochs: Sequence[Mapping[str, Any]] = (),
    best: int | None = None,
    timings: BenchmarkReport | None = None,
    facts: Mapping[str, str] | None = None,
    config: str = "",
    notes: Sequence[str] = (),
) -> Content:
    """Gather the content of a page about `model`; arguments are as in `write_report` and `Content`."""
    model = transformed(model, "write_report")
    report = summary(model)
    plans, problems = {}, [*notes]
    for target in get_args(Target):
        try:
            plans[target] = planned(model, target)
        except ExportError as error:
            problems.append(f"Which layers {target} runs in 1 bit is not known: {error}")
    histograms = activation_histograms(model, _arguments(inputs)) if inputs is not None else []
    return Content(
        title=title or type(model).__name__,
        model=model,
        report=report,
        rows=tuple(layer_rows([*report.sites, *report.others], plans, last_diagnostics(epochs))),
        targets=tuple(plans),
        epochs=epochs,
        best=best,
        histograms=tuple(histograms),
        timings=timings,
        facts=facts or {},
        config=config,
        notes=tuple(problems),
    )


def _arguments(inputs: object) -> tuple[Any, ...]:
    """`inputs` as positional arguments: a tensor is the only one."""
    return (
        (inputs,) if isinstance(inputs, torch.Tensor) or not isinstance(inputs, (tuple, list)) else (*inputs,)
    )
