"""`fxbin verify`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from fxbin.cli.network import network_from
from fxbin.cli.number_options import positive_number
from fxbin.cli.options import (
    AverageOption,
    BestOption,
    InputOption,
    OwnConfigOption,
    SetOption,
    SourceArgument,
    TimeLimitOption,
    runtime_names,
)
from fxbin.errors import VerificationError
from fxbin.verification.time_limit import TIME_LIMIT


def verify(
    source: SourceArgument,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="An .onnx or .xml file, or a .pt2 file for --runtimes engine; by default, one is exported.",
            show_default=False,
        ),
    ] = None,
    config: OwnConfigOption = None,
    settings: SetOption = None,
    input_size: InputOption = None,
    average: AverageOption = False,
    best: BestOption = False,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="DIFFERENCE",
            parser=positive_number,
            help="Largest accepted difference to PyTorch, for values up to 1.",
        ),
    ] = 1e-4,
    runtimes: Annotated[
        str | None,
        typer.Option(
            help="Compare these with PyTorch eager, layer by layer except for a file in fxbin's operators: "
            "compiled,engine,onnxruntime,openvino.",
            show_default=False,
        ),
    ] = None,
    time_limit: TimeLimitOption = TIME_LIMIT,
) -> None:
    """Verify that OpenVINO runs a file in 1 bit where promised, and computes the same numbers as PyTorch.

    Counts the 1-bit convolutions of the compiled file, then compares the outputs and each 1-bit convolution
    by itself, including values at the threshold and infinities. The exit code is 2 if anything differs.

    With --runtimes, the outputs and layers of other runtimes are compared, too: `engine` is the model that
    fxbin.deploy makes, which runs in 1 bit in PyTorch and needs no file. Without a FILE, onnxruntime
    gets one with fxbin's operators, in 1 bit where the engine can be built.

    Examples: `fxbin verify runs/demo/checkpoint.pt runs/demo/model.onnx`,
    `fxbin verify runs/demo/checkpoint.pt --runtimes engine,onnxruntime`
    """
    from fxbin import compare_runtimes

    model = network_from(
        source, input_size, average=average, best=best, config=config, settings=settings or ()
    ).model
    if runtimes is None:
        # Imported only when asked for: without OpenVINO, the engine needs none of this.
        from fxbin import openvino

        typer.echo(str(openvino.verify(model, file, tolerance=tolerance, time_limit=time_limit)))
        return
    report = compare_runtimes(
        model,
        file,
        runtimes=runtime_names(runtimes),
        layers=_has_layers(file),
        tolerance=tolerance,
        time_limit=time_limit,
    )
    if not report.is_right:
        same = "All runtimes compute what PyTorch eager does, but not all of it in 1 bit as promised."
        other = "Not all runtimes compute what PyTorch eager does."
        raise VerificationError(f"{same if report.has_right_values else other}\n{report}")
    typer.echo(str(report))


def _has_layers(file: Path | None) -> bool:
    """Whether the outputs of single layers are in the file: fxbin's operators compute more than one."""
    from fxbin.export.file_record import read_record

    if file is None or file.suffix != ".onnx" or not file.is_file() or find_spec("onnx") is None:
        return True
    record = read_record(file)
    return record is None or record.operators != "fxbin"
