"""The commands about exported files: `fxbin export`, `verify` and `bench`."""

import json
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fxbin.cli.source import config_for
from fxbin.errors import ConfigError, ExportError, VerificationError
from fxbin.export.output_path import check_output_name
from fxbin.export.pipeline import DEFAULT_OPSET
from fxbin.verification.time_limit import TIME_LIMIT

if TYPE_CHECKING:
    from fxbin.binarized.module import BinarizedModule

CHECKPOINT_SUFFIXES = (".pt", ".pth")
PROGRAM_SUFFIX = ".pt2"

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="checkpoint.pt of a run, a config file, or a model's name.", show_default=False
    ),
]
InputOption = Annotated[
    str | None,
    typer.Option("--input", metavar="SHAPE", help="Input size for a model given by name, as in 1,3,224,224."),
]
AverageOption = Annotated[
    bool, typer.Option("--ema", help="Take the averaged parameters of the checkpoint, not the last ones.")
]
TimeLimitOption = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="Time limit for each OpenVINO step, such as compiling a file."),
]


class Operators(StrEnum):
    """Operators of an exported file."""

    OPENVINO = "openvino"
    FXBIN = "fxbin"
    STANDARD = "standard"


class Weights(StrEnum):
    """Storage of binarized weights in a file."""

    PACKED = "packed"
    FLOAT = "float"


class Precision(StrEnum):
    """OpenVINO's precision hint for layers that are neither in 1 bit nor in int8."""

    F32 = "f32"
    BF16 = "bf16"


def export(
    source: SourceArgument,
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write: OUT.onnx, or OUT.pt2 for PyTorch.")
    ],
    input_size: InputOption = None,
    average: AverageOption = False,
    opset: Annotated[int, typer.Option(help="Version of the ONNX operators, 18 to 25.")] = DEFAULT_OPSET,
    dynamic_batch: Annotated[
        bool,
        typer.Option(
            "--dynamic-batch", help="Make the batch size dynamic; OpenVINO needs it fixed for 1 bit."
        ),
    ] = False,
    operators: Annotated[
        Operators,
        typer.Option(
            help="Write what OpenVINO runs in 1 bit, fxbin's operators, which onnxruntime runs so where "
            "they are registered, or only standard ONNX operators, which run in float."
        ),
    ] = Operators.OPENVINO,
    weights: Annotated[
        Weights, typer.Option(help="Store binarized weights as bits, or as float32.")
    ] = Weights.PACKED,
) -> None:
    """Write the binarized model as one ONNX file for onnxruntime and OpenVINO, or as a program for PyTorch.

    From a checkpoint, this exports the trained network in the stage that it has reached; from a config or a
    name, the untrained network with everything binarized, to try a deployment before training.

    OUT.pt2 holds what fxbin.deploy makes: torch.export.load runs it in fxbin's 1-bit engine.

    Examples: `fxbin export runs/demo/checkpoint.pt demo.onnx`,
    `fxbin export runs/demo/checkpoint.pt demo.pt2 --dynamic-batch`
    """
    from fxbin.export import export_onnx

    check_output_name(output, "OUT", ".onnx", PROGRAM_SUFFIX)
    if output.suffix == PROGRAM_SUFFIX:
        _refuse_onnx_options(opset=opset, operators=operators, weights=weights)
    model = model_from(source, input_size, average=average)
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
    input_size: InputOption = None,
    average: AverageOption = False,
    tolerance: Annotated[
        float, typer.Option(help="Largest accepted difference to PyTorch, for values up to 1.")
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

    model = model_from(source, input_size, average=average)
    if runtimes is None:
        # Imported only when asked for: without OpenVINO, the engine needs none of this.
        from fxbin import openvino

        typer.echo(str(openvino.verify(model, file, tolerance=tolerance, time_limit=time_limit)))
        return
    report = compare_runtimes(
        model,
        file,
        runtimes=_names(runtimes),
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


def bench(
    source: SourceArgument,
    input_size: InputOption = None,
    runtimes: Annotated[
        str | None,
        typer.Option(
            help="Time in these: engine,onnxruntime,openvino. engine is what fxbin.deploy makes, in PyTorch.",
            show_default="engine, and openvino if it is installed",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that a runtime may use.")] = 1,
    precision: Annotated[
        Precision,
        typer.Option(help="OpenVINO's precision hint for layers that are in neither 1 bit nor int8."),
    ] = Precision.F32,
    rounds: Annotated[
        int, typer.Option(min=1, help="Number of rounds, in each of which every form is timed.")
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
    report = benchmark(
        model_from(source, input_size),
        runtimes=_names(runtimes),
        int8=int8,
        threads=threads,
        precision=precision.value,
        rounds=rounds,
        time_limit=time_limit,
    )
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    typer.echo(str(report))


def _names(runtimes: str | None) -> Any:
    """The names in a list with commas; None for None."""
    return None if runtimes is None else [name.strip() for name in runtimes.split(",")]


def model_from(source: str, input_size: str | None, *, average: bool = False) -> "BinarizedModule":
    """The model of a checkpoint; or of a config or a name, untrained, with all binarizers enabled.

    It is in eval mode. With `average`, it has the averaged parameters of the checkpoint.
    Raises ConfigError, CheckpointError, and the errors of `transform`.
    """
    from fxbin.compiler.transform import transform
    from fxbin.train.build import binarized_from, model_of
    from fxbin.train.checkpoint import load_checkpoint

    if source.endswith(CHECKPOINT_SUFFIXES):
        return binarized_from(load_checkpoint(Path(source)), average=average)
    if average:
        raise ConfigError(f"--ema: {source} is not a checkpoint, expected checkpoint.pt of a run with `ema`.")
    settings = config_for(source, input_size)
    model = transform(model_of(settings, pretrained=False), settings).eval()
    model.binarization.enable(activations=True, weights=True)
    return model
