"""The command line: `fxbin train`, `check`, `scopes`, `graph`, `export`, `verify` and `bench`."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fxbin.cli import exported
from fxbin.cli.source import config_for, with_overrides, without_scope_check
from fxbin.config import Config, load_config
from fxbin.errors import FxbinError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
"""Exit code of a command that is stopped by SIGINT: 128 + 2, as in shells."""

app = typer.Typer(
    name="fxbin",
    help="Binarize the convolutions of a PyTorch model: train in stages, inspect the graph, export.",
    epilog="Start with `fxbin train configs/demo.json5`; each command has its own `--help`.",
    rich_markup_mode="markdown",
    no_args_is_help=True,
    add_completion=False,
    # Bugs show Python's own traceback.
    pretty_exceptions_enable=False,
)

ConfigArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A JSON5 file; configs/ has examples.", show_default=False)
]


@app.callback()
def options(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="On an error, show the Python traceback.")
    ] = False,
) -> None:
    """Options of every command; `main` reads --traceback itself."""


@app.command()
def train(
    config: ConfigArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Output folder.", show_default="runs/<config>"),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Override the config's data set: mnist or fashion-mnist.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of the data set's files.")
    ] = None,
    tensorboard: Annotated[
        bool | None,
        typer.Option("--tensorboard", help="Also write figures for TensorBoard.", show_default=False),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--restart",
            help="Resume from the checkpoint in the folder, which must exist, or start over.",
            show_default="resume if there is one",
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print stages and learning rate of each epoch, and train nothing.")
    ] = False,
    plan_picture: Annotated[
        Path | None,
        typer.Option(
            "--plan-picture", metavar="FILE", help="Draw them to this file: plan.svg. Trains nothing."
        ),
    ] = None,
) -> None:
    """Train a model in full precision, then binarize it in four stages, and export it.

    The output folder then contains

    * `checkpoint.pt`: replaced after each epoch,
    * `graph.dot` and `graph.svg`: what was binarized, and why the rest was not,
    * `curves.svg`: loss, accuracy and stage over the epochs,
    * `model.onnx`: for onnxruntime and OpenVINO; with the key `ema`, `model_ema.onnx` as well,
    * `report.json`: accuracy after each stage, call sites, versions.

    Stop it with Ctrl-C at any time: the same command resumes after the last finished epoch, with the
    same result as an uninterrupted run.

    To use several processes or GPUs: `torchrun --nproc-per-node 2 -m fxbin train CONFIG`.

    Example: `fxbin train configs/demo.json5 --data fashion-mnist --output runs/fashion`
    """
    settings = with_overrides(load_config(config), data=data, data_dir=data_dir, tensorboard=tensorboard)
    if plan or plan_picture is not None:
        show_plan(settings, plan_picture)
        return
    from fxbin.train.outputs import write_outputs
    from fxbin.train.processes import is_first_process
    from fxbin.train.progress import ConsoleProgress
    from fxbin.train.resume import check_resumable
    from fxbin.train.run import train as run

    console = Console(quiet=not is_first_process())
    folder = output or Path("runs") / config.stem
    if resume:
        check_resumable(folder)
    try:
        with ConsoleProgress(console) as progress:
            trained = run(settings, folder, restart=resume is False, progress=progress)
            if not is_first_process():
                return
            report = write_outputs(trained, folder, progress)
    except KeyboardInterrupt:
        message = (
            f"Interrupted. Finished epochs are kept in {folder}: run the same command again to continue."
        )
        console.print(f"\n{escape(message)}", soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    print_result(report, console)


def show_plan(settings: Config, picture: Path | None) -> None:
    """Print what a training will do, epoch by epoch, and draw it to the file `picture` if there is one."""
    from fxbin.train.plan import plan_lines
    from fxbin.train.plan_table import draw_plan, plan_table

    typer.echo("\n".join([plan_table(settings), *plan_lines(settings)]))
    if picture is not None:
        draw_plan(settings, picture)
        typer.echo(f"wrote {picture}")


@app.command()
def check(
    config: ConfigArgument,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="The model, if the config does not name one."),
    ] = None,
) -> None:
    """List everything in a config that is wrong or may be surprising, without training.

    With a model, from the config or from --model, also check whether its inputs and scopes match. The
    exit code is 2 if something is wrong.

    Examples: `fxbin check configs/demo.json5`, `fxbin check nncf.json --model torchvision:resnet18`
    """
    from fxbin.cli.check import check as check_config
    from fxbin.train.build import model_of

    found = check_config(str(config))
    if not found.problems:
        settings = with_overrides(load_config(config), model=model)
        if settings.model is None:
            typer.echo("note: no model: scopes are not compared. Name one with --model.")
        else:
            found = check_config(settings, model_of(settings, pretrained=False))
    for label, messages in (("error", found.problems), ("note", found.notes)):
        for message in messages:
            typer.echo(f"{label}: {message}")
    if found.problems:
        raise typer.Exit(EXIT_ERROR)


@app.command()
def scopes(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_CONFIG", help="A config file, or a model's name.", show_default=False
        ),
    ],
    config: Annotated[
        str | None, typer.Option("--config", metavar="CONFIG", help="The config to use with a model's name.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--match", metavar="PATTERN", help="List what this pattern would select.")
    ] = None,
    input_size: exported.InputOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List every node, not only conv2d call sites.")
    ] = False,
) -> None:
    """List the names that ignored_scopes and target_scopes in a config refer to.

    Each line has the name, the operator, the shape of the result and, for a conv2d, whether it will be
    binarized and, if not, why. A pattern that matches nothing is only a warning here, so that the list can
    be used to correct it.

    Models are named `resnet_thin`, `resnet18_thin`, `torchvision:NAME`, `timm:NAME`, `pytorchcv:NAME` or
    `path/to/file.py:make_model`.

    Examples: `fxbin scopes configs/demo.json5`, `fxbin scopes torchvision:resnet18 --match "{re}layer1"`
    """
    from fxbin.compiler.transform import transform
    from fxbin.report.scope_rows import list_scopes, matching
    from fxbin.train.build import model_of

    settings = config_for(source, input_size, config)
    rows = list_scopes(transform(model_of(settings, pretrained=False), without_scope_check(settings)))
    if pattern is not None:
        rows = matching(rows, pattern)
    elif not everything:
        rows = [row for row in rows if row.op == "conv2d"]
    for row in rows:
        typer.echo(str(row))


@app.command()
def graph(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_CONFIG", help="A config file, or a model's name.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .dot, or .svg, .pdf or .png with Graphviz.")
    ] = Path("graph.svg"),
    input_size: exported.InputOption = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="PASS", help="Print the graphs as they are after this pass, instead of drawing."
        ),
    ] = None,
) -> None:
    """Draw the transformed graph of a model: binarizers, full-precision convolutions with the reason, shapes.

    Example: `fxbin graph configs/demo.json5 --output demo.svg`
    """
    from fxbin.compiler.transform import transform
    from fxbin.drawing.dot import to_dot
    from fxbin.train.build import model_of
    from fxbin.train.outputs import check_graph_path, save_graph

    if after is not None:
        typer.echo(graphs_after(after, config_for(source, input_size)))
        return
    check_graph_path(output)
    settings = config_for(source, input_size)
    save_graph(to_dot(transform(model_of(settings, pretrained=False), settings)), output)
    typer.echo(f"wrote {output}")


def graphs_after(name: str, settings: Config) -> str:
    """The graphs of the model of `settings` after the pass `name`, as text; that of eval mode comes first.

    Raises:
        ConfigError: no pass has this name.
    """
    from fxbin.compiler.transform import transform
    from fxbin.errors import ConfigError
    from fxbin.passes import PassRun, watch_passes
    from fxbin.train.build import model_of

    graphs: dict[str, list[str]] = {}

    def watch(run: PassRun) -> None:
        graphs.setdefault(run.name, []).append(str(run.graph))

    with watch_passes(watch):
        transform(model_of(settings, pretrained=False), settings)
    if name not in graphs:
        raise ConfigError(f"--after: expected the name of a pass, {', '.join(graphs)}, got {name!r}")
    return "\n\n".join(graphs[name])


for command in (exported.export, exported.verify, exported.bench):
    app.command()(command)


def print_result(report: dict[str, Any], console: Console) -> None:
    """Print the held-out accuracy after each step of the run, and how the runtimes compare."""
    found = report["accuracy"]
    table = Table(title="held-out images")
    table.add_column("network")
    table.add_column("accuracy, %", justify="right")
    if found["full_precision"] is not None:
        table.add_row("full precision, before the stages", f"{found['full_precision']:.2f}")
    for stage, value in found["after_stage"].items():
        table.add_row(f"after stage: {stage}", f"{value:.2f}")
    table.add_row("[b]final, PyTorch[/b]", f"[b]{found['final']:.2f}[/b]")
    if "ema" in report:
        table.add_row("[b]final, averaged parameters[/b]", f"[b]{report['ema']['accuracy']:.2f}[/b]")
    check = report["onnx"]
    if check is not None:
        table.add_row("[b]final, onnxruntime[/b]", f"[b]{found['onnxruntime']:.2f}[/b]")
    engine, openvino = report["engine"], report["openvino"]
    deployed = "1-bit engine" if engine is not None and engine["one_bit"] else "deployed network, in float"
    if engine is not None:
        table.add_row(f"[b]final, {deployed}[/b]", f"[b]{engine['accuracy']:.2f}[/b]")
    if openvino is not None:
        table.add_row("[b]final, OpenVINO[/b]", f"[b]{openvino['accuracy']:.2f}[/b]")
    console.print(table)
    for name, compared in (("onnxruntime", check), (deployed, engine), ("OpenVINO", openvino)):
        if compared is not None:
            console.print(
                f"PyTorch and {name}: {compared['differing_predictions']} of {report['images']['held_out']} "
                f"predictions differ, largest logit difference {compared['largest_logit_difference']:.1e}",
                highlight=False,
                soft_wrap=True,
            )
    if openvino is not None:
        console.print(
            f"verified: OpenVINO {openvino['runtime']} runs {openvino['one_bit']} of {openvino['promised']} "
            "binarized convolutions in 1 bit, each with PyTorch's numbers",
            highlight=False,
            soft_wrap=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an `FxbinError` becomes one paragraph on stderr and exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given if word != "--traceback"]
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            app(words)
    except FxbinError as error:
        if words != given:
            raise
        complain("[bold red]Error:[/bold red]", "\n".join([str(error), *getattr(error, "__notes__", ())]))
        sys.exit(EXIT_ERROR)


def show_warning(message: Warning | str, *_details: object, **_options: object) -> None:
    """Replace `warnings.showwarning`: print only the message, without the line of code that warns."""
    complain("[bold yellow]Warning:[/bold yellow]", str(message))


def complain(label: str, text: str) -> None:
    """Print `label`, which may contain markup, and `text` to standard error."""
    Console(stderr=True).print(f"{label} {escape(text)}", highlight=False, soft_wrap=True)
