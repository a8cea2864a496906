"""`fxbin summary`."""

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from fxbin.cli.network import network_from
from fxbin.cli.options import (
    AverageOption,
    BestOption,
    InputOption,
    JsonOption,
    OwnConfigOption,
    SetOption,
    SourceArgument,
)


class Target(StrEnum):
    """Where a trained model will run."""

    ENGINE = "engine"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


def summary(
    source: SourceArgument,
    config: OwnConfigOption = None,
    settings: SetOption = None,
    input_size: InputOption = None,
    average: AverageOption = False,
    best: BestOption = False,
    target: Annotated[
        Target | None,
        typer.Option(
            metavar="RUNTIME",
            help="Also say what will run in 1 bit in engine, onnxruntime or openvino, once it is trained, "
            "and why not the rest.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what is binarized, why the rest is not, and what that saves, as `fxbin.summary` does in Python.

    One line for each conv2d, with the shapes of its weight and output, its multiply-accumulates and the size
    of its stored weight; then the sums.

    Examples: `fxbin summary configs/demo.json5`, `fxbin summary torchvision:resnet18 --target engine`
    """
    import fxbin

    model = network_from(
        source, input_size, config=config, settings=settings or (), average=average, best=best, enable=False
    ).model
    report = fxbin.summary(model, target=None if target is None else target.value)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    elif (console := Console()).is_terminal:
        console.print(report, crop=False)  # the terminal continues a name that is longer than a line
    else:
        typer.echo(str(report))  # as wide as it is, for files
