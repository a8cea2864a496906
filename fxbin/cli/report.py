"""The command `fxbin report`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fxbin.cli.network import network_from
from fxbin.cli.options import AverageOption, BestOption, InputOption, OwnConfigOption, SetOption
from fxbin.errors import ConfigError, ExportError

if TYPE_CHECKING:
    from fxbin.binarized.module import BinarizedModule
    from fxbin.report.benchmark import BenchmarkReport, BenchmarkRuntime

ROUNDS = 5
"""Rounds of a benchmark for a report: enough for two digits, and seconds instead of minutes."""

EXPORTED_AT_MOST = 200
"""Binarized convolutions up to which a report times OpenVINO unasked. PyTorch's exporter takes a tenth of a
second for each of a hundred, and more for each of a thousand."""


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="The folder of a run, its checkpoint, a config file, a model's name, or, with --config, a "
            "state_dict.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            help="The file to write.",
            show_default="report.html in the folder of the run, or here",
        ),
    ] = None,
    config: OwnConfigOption = None,
    settings: SetOption = None,
    input_size: InputOption = None,
    average: AverageOption = False,
    best: BestOption = False,
    bench: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Sizes and times that `fxbin bench --output` wrote, instead of new ones.",
        ),
    ] = None,
    timed: Annotated[
        bool | None,
        typer.Option(
            "--time/--no-time",
            help="Time the model here, in float32 and in 1 bit.",
            show_default=f"time; without OpenVINO above {EXPORTED_AT_MOST} binarized convolutions",
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, help="Held-out pictures for histograms of activations; 0 for none.")
    ] = 64,
) -> None:
    """Write a page about a run or a model, for a browser: one HTML file that needs no network.

    Curves with the stages, the layers with their costs and whether each runtime runs them in 1 bit, the
    rewritten graph, activations around their thresholds, sizes and latencies. A config or a name gives the
    untrained network, without curves and histograms. With --best, layers, activations and times are those of
    the best epoch; the curves are those of the whole run.

    Examples: `fxbin report runs/demo`, `fxbin report timm:resnet26 -o resnet26.html --no-time`
    """
    from fxbin.report.page.content import content_of
    from fxbin.report.page.whole_page import page
    from fxbin.report.page.write import check_report_path, save_page
    from fxbin.train.run_report import read_run, run_content

    folder = Path(source)
    path = output or (folder / "report.html" if folder.is_dir() else Path("report.html"))
    check_report_path("--output", path)
    known = None if bench is None else read_timings(bench)
    if folder.is_dir():
        _refuse(folder, {"--config": config, "--set": settings, "--input": input_size})
        run = read_run(folder, average=average, best=best)
        timings, notes = timings_of(run.model, known, timed)
        content = run_content(run, pictures=pictures, timings=timings, notes=notes)
    else:
        model = network_from(
            source,
            input_size,
            config=config,
            settings=settings or (),
            average=average,
            best=best,
            enable=False,
        ).model
        timings, notes = timings_of(model, known, timed)
        content = content_of(model, timings=timings, notes=notes)
    save_page(page(content), path)
    for note in content.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"wrote {path} ({path.stat().st_size / 1024:.0f} KiB)")


def _refuse(folder: Path, options: Mapping[str, object]) -> None:
    """Raise ConfigError if one of `options` has a value: the run in `folder` has its own config."""
    for option, value in options.items():
        if value:
            raise ConfigError(
                f"{option}: {value!r}: the run in {folder} has its own config, leave the option out."
            )


def timings_of(
    model: "BinarizedModule", known: "BenchmarkReport | None", timed: bool | None
) -> tuple["BenchmarkReport | None", list[str]]:
    """Sizes and times of `model`: those `known`, or new ones unless `timed` is False; and notes on these.

    Without an answer in `timed`, OpenVINO is left out if the export would take minutes.
    """
    from importlib.util import find_spec

    from fxbin.runtimes import benchmark

    if known is not None or timed is False:
        return known, []
    runtimes: list[BenchmarkRuntime] = ["engine"]
    notes, sites = [], len(model.binarization.sites)
    if find_spec("openvino") and (timed or sites <= EXPORTED_AT_MOST):
        runtimes.append("openvino")
    elif find_spec("openvino"):
        notes.append(
            f"OpenVINO was not timed, as the export of {sites} binarized convolutions takes minutes: --time "
            "does it, or --bench with what `fxbin bench --output` wrote."
        )
    # Without int8, which calibrates for minutes; where OpenVINO is not timed, it takes no options.
    int8 = False if "openvino" in runtimes else None
    try:
        return benchmark(model, runtimes=runtimes, rounds=ROUNDS, int8=int8), notes
    except ExportError as error:
        return None, [*notes, f"The model could not be timed: {error}"]


def read_timings(path: Path) -> "BenchmarkReport":
    """The report that `fxbin bench --output` wrote to `path`.

    Raises ExportError if there is none.
    """
    from fxbin.report.benchmark import BenchmarkReport

    try:
        return BenchmarkReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ExportError) as error:
        raise ExportError(f"--bench: {path} cannot be read: {error}") from error
