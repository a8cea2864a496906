"""Verifies that OpenVINO runs a file in 1 bit, and computes what PyTorch computes."""

import copy
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.errors import VerificationError
from fxbin.export import ExportMode, export_onnx
from fxbin.export.file_record import FileRecord, read_record
from fxbin.export.packages import require
from fxbin.export.plan import lower
from fxbin.export.report import Operators
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.prepare import prepare
from fxbin.openvino.cache import CacheDir, cache_properties
from fxbin.openvino.process import OpenVINOError, run_in_process
from fxbin.openvino.repeated import repeated_calls
from fxbin.openvino.source import FOR_ONNXRUNTIME, SUFFIXES
from fxbin.openvino.verify_report import ONE_BIT_KIND, LayerCheck, VerifyReport
from fxbin.verification.compare import allowed_difference, check_outputs, largest_difference
from fxbin.verification.model_file import checked_path
from fxbin.verification.reference import LayerCase, layer_cases
from fxbin.verification.samples import Sample, bound_samples, first_sample, named_arrays, to_array
from fxbin.verification.time_limit import TIME_LIMIT, check_time_limit
from fxbin.verification.tolerance import check_tolerance

FULL_FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}
"""Properties for float32; OpenVINO's default on CPUs with bfloat16 rounds values across thresholds."""

NO_RECORD = (
    "The file has no record of what fxbin wrote into it: another program has written it, or rewritten it "
    "without its metadata, as onnx.utils.extract_model does. Use the file that fxbin.export_onnx wrote."
)

NOTHING_PROMISED = (
    'it was written with operators="standard" (fxbin export --operators standard), so nothing in it is in '
    "1 bit. Export it without that option; fxbin.compare_runtimes compares the numbers of this one"
)

Array = NDArray[Any]


def verify(
    model: nn.Module,
    path: str | os.PathLike[str] | None = None,
    inputs: Sequence[Sample] | None = None,
    *,
    tolerance: float = 1e-4,
    layers: bool = True,
    cache_dir: CacheDir = None,
    time_limit: float = TIME_LIMIT,
) -> VerifyReport:
    """Verify that OpenVINO runs `model` in 1 bit where the export promises it, with PyTorch's numbers.

    It compares the number of 1-bit convolutions in the compiled file with what `fxbin.export_onnx` promises
    for the model in its current stage, and all outputs with those of the model in eval mode. It compares each
    1-bit convolution alone, on its input in one forward and on special values: at and next to thresholds,
    zeros, infinities. It checks that an ONNX file still has what was written into it, which some tools drop
    silently. OpenVINO runs in a separate process, with its precision hint f32.

    Args:
        model: a transformed model; its mode does not change.
        path: a file of it, .onnx or .xml; by default a temporary one is exported.
        inputs: samples, each a tensor or a tuple of positional inputs. By default random numbers and
            zeros of the shapes in `input_info`.
        tolerance: largest allowed absolute difference; for outputs with values above 1, relative to the
            largest value.
        layers: whether to check each convolution alone. This is possible with ONNX files of fxbin only;
            OpenVINO's own format has layers merged.
        cache_dir: a folder in which OpenVINO caches compiled models.
        time_limit: seconds that OpenVINO may take to compile or to run the file, or one of its layers, once.

    Returns:
        Counts and differences.

    Raises:
        VerificationError: a check failed, with the report as `report`; or OpenVINO crashed, or took longer
            than `time_limit`; or the file was written with ``operators="standard"`` or ``"fxbin"``.
        ExportError: a package is missing, or the model cannot be exported.
    """
    require("openvino", extra="openvino")
    check_time_limit(time_limit)
    check_tolerance(tolerance)
    properties = FULL_FLOAT | cache_properties(cache_dir)
    binarized = transformed(model, "openvino.verify")
    if path is None:
        with tempfile.TemporaryDirectory(prefix="fxbin-verify-") as folder:
            file = Path(folder) / "model.onnx"
            export_onnx(binarized, file, first_sample(inputs))
            report = examine(binarized, file, inputs, tolerance, layers, properties, time_limit)
    else:
        file = checked_path(Path(path), SUFFIXES)
        record = _record_of(file)
        if record is not None and record.operators == "standard":
            raise VerificationError(f"{file}: {NOTHING_PROMISED}")
        report = examine(binarized, file, inputs, tolerance, layers, properties, time_limit)
    if report.problems:
        error = VerificationError("\n".join([*report.problems, str(report)]))
        error.report = report
        raise error
    return report


def examine(
    model: BinarizedModule,
    path: Path,
    inputs: Sequence[Sample] | None,
    tolerance: float,
    layers: bool,
    properties: Mapping[str, str],
    time_limit: float,
) -> VerifyReport:
    """Run the file at `path` in OpenVINO and compare it with `model`; see `verify` for the arguments.

    A file in standard operators is not expected to run in 1 bit. Raises VerificationError if OpenVINO does
    not run the file, or it was written for onnxruntime; everything else that is wrong is in the report.
    """
    module, example = prepare(model, first_sample(inputs), None)
    samples = bound_samples(module.graph, example, inputs)
    record, is_onnx = _record_of(path), path.suffix == ".onnx"
    if record is not None and record.operators == "fxbin":
        raise VerificationError(f"{path}: {FOR_ONNXRUNTIME}")
    promised = _promised(model, inputs, "openvino" if record is None else record.operators)
    cases = layer_cases(module, samples[0], promised) if layers and is_onnx else []
    known_loss = "" if record is None else record.lost
    result, arrays = _run(path, samples, cases, properties, time_limit, known_loss)
    ports = range(len(result["outputs"]))
    found = [[arrays[f"sample {index} {port}"] for port in ports] for index in range(len(samples))]
    return VerifyReport(
        path=path,
        runtime=result["runtime"],
        device=result["device"],
        promised=len(promised),
        repeated=repeated_calls(module, promised),
        lost=NO_RECORD if is_onnx and record is None else known_loss,
        found=result["operators"].get(ONE_BIT_KIND, 0),
        operators=result["operators"],
        outputs=check_outputs(copy.deepcopy(model).eval(), samples, result["outputs"], found, tolerance),
        layers=tuple(
            _check_layer(case, layer["runs_as"], arrays, tolerance)
            for case, layer in zip(cases, result["layers"], strict=True)
        ),
    )


def _promised(model: BinarizedModule, inputs: Sequence[Sample] | None, operators: Operators) -> list[str]:
    """Names of the call sites that the export of `model` writes in 1 bit."""
    # Lowering rewrites the graph, so it gets a prepared module for itself.
    sites = lower(*prepare(model, first_sample(inputs), None), operators=operators)
    return [site.name for site in sites if site.mode is ExportMode.ONE_BIT]


def _record_of(path: Path) -> FileRecord | None:
    """What fxbin has recorded in an ONNX file; None for OpenVINO's own format, which has no record."""
    return read_record(path) if path.suffix == ".onnx" else None


def _run(
    path: Path,
    samples: Sequence[BoundInputs],
    cases: Sequence[LayerCase],
    properties: Mapping[str, str],
    time_limit: float,
    known_loss: str,
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Run the file, and each of `cases` alone, in the worker; return its result and its arrays by key.

    Raises VerificationError, with `known_loss` of the file as a possible cause, if OpenVINO does not run it.
    """
    keys, arrays = named_arrays(samples)
    layers = []
    for case in cases:
        named = {_layer_key(case, index): to_array(x) for index, x in enumerate(case.inputs)}
        layers.append({"name": case.name, "inputs": list(named), "behind": case.behind})
        arrays |= named
    job = {"model": str(path), "properties": properties, "samples": keys, "layers": layers}
    try:
        result, outputs = run_in_process("run", job, arrays, time_limit)
    except OpenVINOError as error:
        raise VerificationError(f"{path}: {error} {known_loss}".rstrip()) from error
    return result, dict(outputs)


def _check_layer(
    case: LayerCase, runs_as: str | None, found: dict[str, Array], tolerance: float
) -> LayerCheck:
    """Compare the outputs that the worker has `found` for `case`, by key, with PyTorch's."""
    expected = [to_array(y) for y in case.outputs]
    differences = [
        largest_difference(found.get(_layer_key(case, index), np.empty(0)), y)
        for index, y in enumerate(expected)
    ]
    allowed = max(allowed_difference(y, tolerance) for y in expected)
    return LayerCheck(case.name, runs_as, max(differences), allowed)


def _layer_key(case: LayerCase, index: int) -> str:
    return f"layer {case.name} {index}"
