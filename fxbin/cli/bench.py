"""`fxbin bench`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fxbin.atomic_write import replace_file
from fxbin.cli.network import network_from
from fxbin.cli.number_options import whole_number
from fxbin.cli.options import (
    BestOption,
    InputOption,
    OwnConfigOption,
    SetOption,
    SourceArgument,
    TimeLimitOption,
    runtime_names,
)
from fxbin.export.output_file import check_writable_file, explained_writing
from fxbin.export.output_path import check_output_name
from fxbin.verification.time_limit import TIME_LIMIT


class Precision(StrEnum):
    """OpenVINO's precision hint for layers that are neither in 1 bit nor in int8."""

    F32 = "f32"
    BF16 = "bf16"


def bench(
    source: SourceArgument,
    config: OwnConfigOption = None,
    settings: SetOption = None,
    input_size: InputOption = None,
    best: BestOption = False,
    runtimes: Annotated[
        str | None,
        typer.Option(
            help="Time in these, with commas between: engine, onnxruntime, openvino. engine is what "
            "fxbin.deploy makes, in PyTorch.",
            show_default="engine, and openvino if it is installed",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(metavar="N", parser=whole_number(1), help="Threads that a runtime may use.")
    ] = 1,
    precision: Annotated[
        Precision,
        typer.Option(help="OpenVINO's precision hint for layers that are in neither 1 bit nor int8."),
    ] = Precision.F32,
    rounds: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole_number(1),
            help="Number of rounds, in each of which every form is timed.",
        ),
    ] = 15,
    int8: Annotated[
        bool | None,
        typer.Option("--int8/--no-int8", help="Also time OpenVINO's int8; by default, if nncf is installed."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.json", help="Also write all times to a file."),
    ] = None,
    time_limit: TimeLimitOption = TIME_LIMIT,
) -> None:
    """Time a model in PyTorch, onnxruntime and OpenVINO, in float and in 1 bit, in one run.

    A config or a model's name is enough: the weights do not affect the speed of OpenVINO, and that of the
    1-bit engine only by how many activations fire, which the first lines say.

    Examples: `fxbin bench configs/resnet18_imagenet_xnor.json5`, `fxbin bench timm:resnet26 --threads 2`,
    `fxbin bench runs/demo/checkpoint.pt --runtimes engine`
    """
    from fxbin import benchmark

    if output is not None:
        check_output_name(output, "--output", ".json")
        check_writable_file(output, "--output")
    report = benchmark(
        network_from(source, input_size, config=config, settings=settings or (), best=best).model,
        runtimes=runtime_names(runtimes),
        int8=int8,
        threads=threads,
        precision=precision.value,
        rounds=rounds,
        time_limit=time_limit,
    )
    typer.echo(str(report))
    if output is not None:
        # After the times are on the screen: they are not lost if the disk is full by now.
        with explained_writing(output, "--output"):
            replace_file(output, json.dumps(report.to_dict(), indent=2) + "\n")
