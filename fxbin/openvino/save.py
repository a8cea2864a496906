"""Saves a binarized model in OpenVINO's own format, with 1-bit constants."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fxbin.export.output_path import check_output_path
from fxbin.export.packages import require
from fxbin.openvino.calibration import calibration_arrays
from fxbin.openvino.process import run_in_process
from fxbin.openvino.source import Source, as_file
from fxbin.verification.samples import Sample, tensors_of
from fxbin.verification.time_limit import TIME_LIMIT, check_time_limit


@dataclass(frozen=True)
class SavedModel:
    """The two files that `save` has written."""

    path: Path
    """Path of the graph, ``model.xml``; its constants are in ``model.bin`` beside it."""

    size: int
    """Bytes of both files together."""

    calibrated_on: int
    """Number of samples that determined the ranges of int8 layers; 0 without int8."""

    def __str__(self) -> str:
        rest = f"int8 from {self.calibrated_on} samples" if self.calibrated_on else "float32"
        return f"{self.path} and .bin ({self.size / 1e6:.2f} MB), remaining layers: {rest}"


def save(
    source: Source,
    path: str | os.PathLike[str],
    example_inputs: tuple[Any, ...] | None = None,
    *,
    calibration: Iterable[Sample] | None = None,
    time_limit: float = TIME_LIMIT,
) -> SavedModel:
    """Write a model as ``model.xml`` and ``model.bin``, which load faster than ONNX and take less space.

    Weights of 1-bit convolutions are stored as 1-bit constants. OpenVINO runs in a separate process.

    Args:
        source: a transformed model, in its current stage, or the path of its ONNX file.
        path: the .xml file to write; its folder must exist.
        example_inputs: positional inputs, as `compile` takes them; only their shapes matter.
        calibration: samples of real data, each a tensor or a tuple of positional inputs, all of one shape;
            100 to 300 are usual. With them, the layers that are not binarized become int8 through
            ``nncf.quantize``.
        time_limit: seconds that OpenVINO may take to compile the model once, or nncf for one sample.

    Raises:
        ExportError: a package is missing, an argument is wrong, OpenVINO refuses the file or takes longer
            than `time_limit`, or the model cannot be exported.
    """
    path = Path(path)
    require("openvino", *(["nncf"] if calibration is not None else []), extra="openvino")
    check_time_limit(time_limit)
    check_output_path(path, ".xml")
    samples = [] if calibration is None else calibration_arrays(calibration)
    with as_file(source, example_inputs) as file:
        shapes = [list(x.shape) for x in tensors_of(example_inputs)]
        convert(file, path, samples, shapes, time_limit)
    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    return SavedModel(path, size, len(samples))


def convert(
    file: Path,
    path: Path,
    calibration: Sequence[Sequence[NDArray[Any]]],
    shapes: Sequence[list[int]],
    time_limit: float,
) -> None:
    """Convert the model in `file` to OpenVINO's format at `path`, replacing both files only at the end.

    With `calibration`, layers that are not in 1 bit become int8. Arrays of a sample and `shapes` are in the
    order of the inputs of the file.
    """
    arrays = {
        f"{index} {port}": x for index, sample in enumerate(calibration) for port, x in enumerate(sample)
    }
    if not shapes and calibration:
        shapes = [list(x.shape) for x in calibration[0]]
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.xml").resolve()
    job = {
        "model": str(file),
        "output": str(temporary),
        "shapes": list(shapes) or None,
        "calibration": [
            [f"{index} {port}" for port in range(len(sample))] for index, sample in enumerate(calibration)
        ],
    }
    try:
        run_in_process("convert", job, arrays, time_limit)
        for suffix in (".bin", ".xml"):
            temporary.with_suffix(suffix).replace(path.with_suffix(suffix))
    finally:
        for suffix in (".bin", ".xml"):
            temporary.with_suffix(suffix).unlink(missing_ok=True)
