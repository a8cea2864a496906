"""`fxbin train`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from fxbin.cli.exit_code import EXIT_INTERRUPTED
from fxbin.cli.options import ConfigArgument
from fxbin.cli.result import print_result
from fxbin.cli.source import with_overrides
from fxbin.config import load_config


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
