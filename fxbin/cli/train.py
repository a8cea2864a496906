"""`fxbin train`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fxbin.cli.exit_code import EXIT_INTERRUPTED
from fxbin.cli.options import ConfigArgument, DataDirOption, DataOption, OutputOption, SetOption
from fxbin.cli.result import print_result
from fxbin.cli.source import changes_of, output_folder
from fxbin.config import Config
from fxbin.export.output_file import check_writable_file, explained_writing


def train(
    config: ConfigArgument,
    settings: SetOption = None,
    output: OutputOption = None,
    data: DataOption = None,
    data_dir: DataDirOption = None,
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

    * `checkpoint.pt`: replaced after each epoch, and `best.pt`: that of the best binarized epoch,
    * `metrics.csv`: one row for each epoch,
    * `graph.dot` and `graph.svg`: what was binarized, and why the rest was not,
    * `curves.svg`: loss, accuracy and stage over the epochs,
    * `model.onnx`: for onnxruntime and OpenVINO; with the key `ema`, `model_ema.onnx` as well,
    * `report.json`: accuracy after each stage, call sites, versions.

    Stop it with Ctrl-C at any time: the same command resumes after the last finished epoch, with the
    same result as an uninterrupted run.

    To use several processes or GPUs: `torchrun --nproc-per-node 2 -m fxbin train CONFIG`.

    Before it writes anything it checks what `fxbin check` checks, and prints the same notes.

    Examples: `fxbin train configs/demo.json5 --data fashion-mnist --output runs/fashion`,
    `fxbin train configs/demo.json5 --set epochs=4 --set compression.params.base_lr=1e-3`
    """
    from fxbin.train.only_run import only_run
    from fxbin.train.outputs import write_outputs
    from fxbin.train.processes import is_first_process
    from fxbin.train.progress import ConsoleProgress
    from fxbin.train.resume import check_resumable
    from fxbin.train.run import train as run
    from fxbin.train.settings import read_settings

    changes = changes_of(settings or (), data=data, data_dir=data_dir, tensorboard=tensorboard)
    read = read_settings(config, changes)
    if plan or plan_picture is not None:
        show_plan(read, plan_picture)
        return
    console = Console(quiet=not is_first_process())
    folder = output_folder(config, output)
    if resume:
        check_resumable(folder)
    try:
        with ConsoleProgress(console) as progress:
            trained = run(read, folder, restart=resume is False, progress=progress)
            if not is_first_process():
                return
            with only_run(folder):
                report = write_outputs(trained, folder, progress)
    except KeyboardInterrupt:
        message = (
            f"Interrupted. Finished epochs are kept in {folder}: run the same command again to continue."
        )
        console.print(f"\n{message}", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    print_result(report, console)


def show_plan(settings: Config, picture: Path | None) -> None:
    """Print what a training will do, epoch by epoch, and draw it to the file `picture` if there is one."""
    from fxbin.train.figure_file import check_figure_path
    from fxbin.train.plan import plan_lines
    from fxbin.train.plan_table import draw_plan, plan_table

    if picture is not None:
        check_figure_path(picture, "--plan-picture")
        check_writable_file(picture, "--plan-picture")
    typer.echo("\n".join([plan_table(settings), *plan_lines(settings)]))
    if picture is not None:
        with explained_writing(picture, "--plan-picture"):
            draw_plan(settings, picture)
        typer.echo(f"wrote {picture}")
