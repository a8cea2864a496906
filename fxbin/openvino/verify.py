"""Does OpenVINO run a file in 1 bit, and does it compute what PyTorch computes?"""

import copy
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx

from fxbin.errors import VerificationError
from fxbin.export import ExportMode, export_onnx
from fxbin.export.inputs import BoundInputs
from fxbin.export.plan import lower, prepare
from fxbin.openvino.process import OpenVINOError, run_in_process
from fxbin.openvino.repeated import repeated_calls
from fxbin.openvino.source import SUFFIXES
from fxbin.openvino.verify_report import ONE_BIT_KIND, LayerCheck, VerifyReport
from fxbin.packages import require
from fxbin.runtimes.compare import allowed_difference, check_outputs, largest_difference
from fxbin.runtimes.model_file import checked_path
from fxbin.runtimes.reference import LayerCase, layer_cases
from fxbin.runtimes.samples import Sample, bound_samples, first_sample, named_arrays, to_array
from fxbin.runtimes.time_limit import TIME_LIMIT, check_time_limit
from fxbin.runtimes.tolerance import check_tolerance
from fxbin.transformed import transformed

FULL_FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}
"""OpenVINO's default on CPUs with bfloat16 rounds values across thresholds."""

Array = NDArray[Any]


def verify(
    model: fx.GraphModule,
    path: str | os.PathLike[str] | None = None,
    inputs: Sequence[Sample] | None = None,
    *,
    tolerance: float = 1e-4,
    layers: bool = True,
    time_limit: float = TIME_LIMIT,
) -> VerifyReport:
    """Prove that OpenVINO runs `model` in 1 bit where that was promised, with PyTorch's numbers.

    Counts the 1-bit convolutions of the compiled file against what `fxbin.export_onnx` promises for the
    model in its present stage; compares all outputs with the model's own, in eval mode; and compares each
    1-bit convolution by itself on what one forward gives it and on values at, next to and far from its
    thresholds, zeros and infinities. OpenVINO runs in a process of its own, with its precision hint f32.

    Args:
        model: a transformed model. Its mode stays as it is.
        path: a file of it, .onnx or .xml; by default one is made, and removed again.
        inputs: samples, each a tensor or a tuple of positional inputs. By default random numbers and
            zeros of the shapes in `input_info`.
        tolerance: largest absolute difference, for values up to 1; above, relative to the largest.
        layers: whether to look at each convolution by itself. Only ONNX files of fxbin allow that;
            OpenVINO's own format has layers merged.
        time_limit: seconds that OpenVINO may take to compile or to run the file, or one of its layers, once.

    Returns:
        Counts and differences.

    Raises:
        VerificationError: something is off, with the report as `report`; or OpenVINO crashed, or took longer
            than `time_limit`.
        ExportError: a package is missing, or the model cannot be exported.
    """
    require("openvino", extra="openvino")
    check_time_limit(time_limit)
    check_tolerance(tolerance)
    model = transformed(model, "openvino.verify")
    if path is None:
        with tempfile.TemporaryDirectory(prefix="fxbin-verify-") as folder:
            file = Path(folder) / "model.onnx"
            export_onnx(model, file, first_sample(inputs))
            return _verify(model, file, inputs, tolerance, layers, time_limit)
    file = checked_path(Path(path), SUFFIXES)
    return _verify(model, file, inputs, tolerance, layers and file.suffix == ".onnx", time_limit)


def _verify(
    model: fx.GraphModule,
    path: Path,
    inputs: Sequence[Sample] | None,
    tolerance: float,
    layers: bool,
    time_limit: float,
) -> VerifyReport:
    module, example = prepare(model, first_sample(inputs), None)
    samples = bound_samples(module.graph, example, inputs)
    sites = lower(*prepare(model, first_sample(inputs), None))
    promised = [site.name for site in sites if site.mode is ExportMode.ONE_BIT]
    cases = layer_cases(module, samples[0], promised) if layers else []
    result, arrays = _run(path, samples, cases, time_limit)
    ports = range(len(result["outputs"]))
    found = [[arrays[f"sample {index} {port}"] for port in ports] for index in range(len(samples))]
    report = VerifyReport(
        path=path,
        runtime=result["runtime"],
        device=result["device"],
        promised=len(promised),
        repeated=repeated_calls(module, promised),
        found=result["operators"].get(ONE_BIT_KIND, 0),
        operators=result["operators"],
        outputs=check_outputs(copy.deepcopy(model).eval(), samples, result["outputs"], found, tolerance),
        layers=tuple(
            _check_layer(case, layer["runs_as"], arrays, tolerance)
            for case, layer in zip(cases, result["layers"], strict=True)
        ),
    )
    if report.problems:
        error = VerificationError("\n".join([*report.problems, str(report)]))
        error.report = report
        raise error
    return report


def _run(
    path: Path, samples: Sequence[BoundInputs], cases: Sequence[LayerCase], time_limit: float
) -> tuple[dict[str, Any], dict[str, Array]]:
    keys, arrays = named_arrays(samples)
    layers = []
    for case in cases:
        named = {_layer_key(case, index): to_array(x) for index, x in enumerate(case.inputs)}
        layers.append({"name": case.name, "inputs": list(named)})
        arrays |= named
    job = {"model": str(path), "properties": FULL_FLOAT, "samples": keys, "layers": layers}
    try:
        result, outputs = run_in_process("run", job, arrays, time_limit)
    except OpenVINOError as error:
        raise VerificationError(f"{path}: {error}") from error
    return result, dict(outputs)


def _check_layer(
    case: LayerCase, runs_as: str | None, found: dict[str, Array], tolerance: float
) -> LayerCheck:
    expected = [to_array(y) for y in case.outputs]
    differences = [
        largest_difference(found.get(_layer_key(case, index), np.empty(0)), y)
        for index, y in enumerate(expected)
    ]
    allowed = max(allowed_difference(y, tolerance) for y in expected)
    return LayerCheck(case.name, runs_as, max(differences), allowed)


def _layer_key(case: LayerCase, index: int) -> str:
    return f"layer {case.name} {index}"
