"""`fxbin export`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fxbin.cli.network import network_from
from fxbin.cli.number_options import whole_number
from fxbin.cli.options import (
    AverageOption,
    BestOption,
    InputOption,
    OwnConfigOption,
    SetOption,
    SourceArgument,
)
from fxbin.errors import ExportError
from fxbin.export.output_file import check_writable_file
from fxbin.export.output_path import check_output_name
from fxbin.export.pipeline import DEFAULT_OPSET

if TYPE_CHECKING:
    from fxbin.binarized.module import BinarizedModule

PROGRAM_SUFFIX = ".pt2"


class Operators(StrEnum):
    """Operators of an exported file."""

    OPENVINO = "openvino"
    FXBIN = "fxbin"
    STANDARD = "standard"


class Weights(StrEnum):
    """Storage of binarized weights in a file."""

    PACKED = "packed"
    FLOAT = "float"


def export(
    source: SourceArgument,
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write: OUT.onnx, or OUT.pt2 for PyTorch.")
    ],
    config: OwnConfigOption = None,
    settings: SetOption = None,
    input_size: InputOption = None,
    average: AverageOption = False,
    best: BestOption = False,
    opset: Annotated[
        int,
        typer.Option(metavar="N", parser=whole_number(18), help="Version of the ONNX operators, 18 to 25."),
    ] = DEFAULT_OPSET,
    dynamic_batch: Annotated[
        bool,
        typer.Option(
            "--dynamic-batch", help="Make the batch size dynamic; OpenVINO needs it fixed for 1 bit."
        ),
    ] = False,
    operators: Annotated[
        Operators,
        typer.Option(
            metavar="WHOSE",
            help="openvino: what OpenVINO runs in 1 bit; fxbin: its own, which onnxruntime runs in 1 bit "
            "where they are registered; standard: those of ONNX alone, which run in float.",
        ),
    ] = Operators.OPENVINO,
    weights: Annotated[
        Weights, typer.Option(help="Store binarized weights as bits, or as float32.")
    ] = Weights.PACKED,
) -> None:
    """Write the binarized model as one ONNX file for onnxruntime and OpenVINO, or as a program for PyTorch.

    From a run, this exports the trained network in the stage that it has reached; from a config or a
    name, the untrained network with everything binarized, to try a deployment before training.

    OUT.pt2 holds what fxbin.deploy makes: torch.export.load runs it in fxbin's 1-bit engine.

    Examples: `fxbin export runs/demo demo.onnx --best`,
    `fxbin export runs/demo/checkpoint.pt demo.pt2 --dynamic-batch`
    """
    from fxbin.export import export_onnx
    from fxbin.train.data.kept import metadata_of

    check_output_name(output, "OUT", ".onnx", PROGRAM_SUFFIX)
    check_writable_file(output, "OUT")
    if output.suffix == PROGRAM_SUFFIX:
        _refuse_onnx_options(opset=opset, operators=operators, weights=weights)
    network = network_from(
        source, input_size, average=average, best=best, config=config, settings=settings or ()
    )
    model = network.model
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == PROGRAM_SUFFIX:
        _write_program(model, output, dynamic_batch=dynamic_batch)
        return
    report = export_onnx(
        model,
        output,
        opset=opset,
        dynamic_batch=dynamic_batch,
        operators=operators.value,
        weights=weights.value,
        metadata=metadata_of(network.kept),
    )
    typer.echo(str(report))


def _write_program(model: "BinarizedModule", output: Path, *, dynamic_batch: bool) -> None:
    from fxbin.export import export_program

    deployed = export_program(model, output, dynamic_batch=dynamic_batch)
    one_bit, sites = len(deployed.packed_convolutions), len(deployed.deployed_sites)
    size = output.stat().st_size / 1024
    typer.echo(f"wrote {output} ({size:.0f} KiB; {one_bit} of {sites} binarized convolutions in 1 bit)")


def _refuse_onnx_options(*, opset: int, operators: Operators, weights: Weights) -> None:
    """Raise ExportError if an option about ONNX has another value than its default."""
    defaults = {"opset": DEFAULT_OPSET, "operators": Operators.OPENVINO, "weights": Weights.PACKED}
    for name, value in {"opset": opset, "operators": operators, "weights": weights}.items():
        if value != defaults[name]:
            raise ExportError(
                f"--{name}: got {value}, but a {PROGRAM_SUFFIX} file has no ONNX operators; leave the option "
                "out, or write to OUT.onnx"
            )
