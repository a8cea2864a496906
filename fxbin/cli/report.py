"""The command `fxbin report`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fxbin.cli.network import chosen_checkpoint, is_checkpoint, network_from
from fxbin.cli.number_options import whole_number
from fxbin.cli.options import AverageOption, BestOption, InputOption, OwnConfigOption, SetOption
from fxbin.errors import ConfigError, ExportError

if TYPE_CHECKING:
    from fxbin.binarized.module import BinarizedModule
    from fxbin.report.benchmark import BenchmarkReport, BenchmarkRuntime
    from fxbin.report.page.content import Content

PICTURES = 64
"""Held-out pictures for histograms: they hardly change with more."""

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
        int | None,
        typer.Option(
            metavar="N",
            parser=whole_number(0),
            help="Held-out pictures of a run for histograms of activations; 0 for none.",
            show_default=str(PICTURES),
        ),
    ] = None,
) -> None:
    """Write a page about a run or a model, for a browser: one HTML file that needs no network.

    Curves with the stages, the layers with their costs and whether each runtime runs them in 1 bit, the
    rewritten graph, activations around their thresholds, sizes and latencies. A config or a name gives the
    untrained network, a state_dict the network alone: without curves and histograms. With --best, layers,
    their firing and flips, activations and times are those of the best epoch; the curves are those of the
    whole run. A checkpoint gives the curves up to its epoch, but best.pt those of the whole run if
    checkpoint.pt is beside it. What is missing is said on the page.

    Examples: `fxbin report runs/demo`, `fxbin report timm:resnet26 -o resnet26.html --no-time`
    """
    from fxbin.report.page.whole_page import page
    from fxbin.report.page.write import check_report_path, save_page

    folder = Path(source)
    path = output or (folder / "report.html" if folder.is_dir() else Path("report.html"))
    check_report_path(path, "--output")
    times = Times(bench, timed)
    if folder.is_dir() or (config is None and is_checkpoint(source)):
        _refuse(folder, {"--config": config, "--set": settings, "--input": input_size})
        content = content_of_run(source, times, pictures=pictures, average=average, best=best)
    else:
        if pictures:
            raise ConfigError(
                f"--pictures: {pictures}: histograms are over the held-out pictures of a run, and {source} "
                "is none: leave the option out."
            )
        network = network_from(
            source,
            input_size,
            config=config,
            settings=settings or (),
            average=average,
            best=best,
            enable=False,
        )
        content = content_without_run(source, network.model, times)
    save_page(page(content), path, "--output")
    for note in content.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"wrote {path} ({path.stat().st_size / 1024:.0f} KiB)")


def content_of_run(
    source: str, times: "Times", *, pictures: int | None, average: bool, best: bool
) -> "Content":
    """The content of the page about the run in the folder `source`, or about its checkpoint `source`."""
    from fxbin.train.run_report import read_run, run_content

    place = source if Path(source).is_dir() else chosen_checkpoint(source, best=best)
    run = read_run(Path(place), average=average, best=best)
    timings, notes = times.of(run.model)
    count = PICTURES if pictures is None else pictures
    return run_content(run, pictures=count, timings=timings, notes=notes)


def content_without_run(source: str, model: "BinarizedModule", times: "Times") -> "Content":
    """The content of the page about `model`, of which no training is known."""
    from fxbin.report.page.content import content_of

    timings, notes = times.of(model)
    kind = "A state_dict holds weights alone" if is_checkpoint(source) else "The network is not trained"
    notes.append(f"{kind}: there are no curves, no accuracies and no histograms.")
    return content_of(model, timings=timings, notes=notes)


def _refuse(source: Path, options: Mapping[str, object]) -> None:
    """Raise ConfigError if one of `options` has a value: the run in `source` has its own config."""
    for option, value in options.items():
        if value:
            shown = value[0] if isinstance(value, list) else value
            raise ConfigError(
                f"{option}: {shown!r}: the run in {source} has its own config, leave the option out."
            )


class Times:
    """What the options say about sizes and times: those in the file `bench`, or new ones if `timed`.

    If `timed` is None, they are taken too, but without OpenVINO if its export would take minutes.
    Raises ConfigError if both are asked for, ExportError if the file is not the report of a benchmark.
    """

    def __init__(self, bench: Path | None, timed: bool | None) -> None:
        if bench is not None and timed:
            raise ConfigError(f"--time: the times are those of --bench {bench}: leave one option out.")
        self.bench = bench
        self.timed = timed
        self.known = None if bench is None else read_timings(bench)

    def of(self, model: "BinarizedModule") -> tuple["BenchmarkReport | None", list[str]]:
        """Sizes and times of `model`, and notes on these.

        Raises ExportError if those in the file are of another network.
        """
        from fxbin.report.page.content import check_timings

        if self.known is not None:
            check_timings(self.known, model, f"--bench: {self.bench}")
            return self.known, []
        return (None, []) if self.timed is False else measured(model, with_openvino=self.timed)


def measured(
    model: "BinarizedModule", *, with_openvino: bool | None
) -> tuple["BenchmarkReport | None", list[str]]:
    """New sizes and times of `model`, and notes on these; as to OpenVINO, `Times` says what None means."""
    from importlib.util import find_spec

    from fxbin.runtimes import benchmark

    runtimes: list[BenchmarkRuntime] = ["engine"]
    notes, sites = [], len(model.binarization.sites)
    if find_spec("openvino") and (with_openvino or sites <= EXPORTED_AT_MOST):
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
