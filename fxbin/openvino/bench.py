"""Measures how much faster binarization makes a model in OpenVINO on this machine."""

import copy
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.errors import ExportError
from fxbin.export import ExportMode, export_onnx
from fxbin.export.packages import require
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.prepare import prepare
from fxbin.openvino.bench_report import BenchmarkReport, Timing
from fxbin.openvino.cache import CacheDir, cache_properties
from fxbin.openvino.process import run_in_process
from fxbin.openvino.save import convert
from fxbin.verification.samples import bound_samples, named_arrays, to_array
from fxbin.verification.time_limit import TIME_LIMIT, check_time_limit

CALIBRATION_SAMPLES = 8
"""Number of random calibration samples: they affect the ranges of int8 layers, but not their speed."""


def benchmark(
    model: nn.Module,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    int8: bool | None = None,
    threads: int = 1,
    precision: str = "f32",
    rounds: int = 15,
    repeat: int = 3,
    cache_dir: CacheDir = None,
    time_limit: float = TIME_LIMIT,
) -> BenchmarkReport:
    """Time a model in float32, in int8, in 1 bit, and in 1 bit with the rest in int8, in one run.

    For this, all binarizers are enabled or none, whatever the stage. The forms take turns, so that other load
    on the machine slows all of them down; medians are compared. With one thread, CPU time is measured, with
    more threads wall-clock time. OpenVINO runs in a separate process.

    Args:
        model: a transformed model; training makes no difference to its speed.
        example_inputs: positional inputs; by default from `input_info`.
        int8: whether to time the int8 forms, which needs nncf; by default if that is installed.
        threads: number of threads that OpenVINO may use.
        precision: OpenVINO's precision hint, ``"f32"`` or ``"bf16"``.
        rounds: number of rounds in which each form takes its turn.
        repeat: number of measured forwards of each form in a round, after one that is not measured.
        cache_dir: a folder in which OpenVINO caches compiled models.
        time_limit: seconds that OpenVINO may take to compile one form, or for one round of all forms.

    Raises:
        ExportError: a package is missing, OpenVINO refuses a file or takes longer than `time_limit`, or the
            model cannot be exported.
    """
    int8 = find_spec("nncf") is not None if int8 is None else int8
    require("openvino", *(["nncf"] if int8 else []), extra="openvino")
    check_time_limit(time_limit)
    _check_count("rounds", rounds)
    _check_count("repeat", repeat)
    properties = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": str(threads)}
    properties |= cache_properties(cache_dir)
    clock = "cpu" if threads == 1 else "wall"
    settings = {"properties": properties, "rounds": rounds, "repeat": repeat, "clock": clock}
    binarized = transformed(model, "openvino.benchmark")
    module, example = prepare(binarized, example_inputs, None)
    (sample, _) = bound_samples(module.graph, example, None)
    with tempfile.TemporaryDirectory(prefix="fxbin-benchmark-") as name:
        promised, files = _write_forms(binarized, Path(name), example_inputs, int8, time_limit)
        result, timings = _time_forms(files, sample, settings, time_limit)
    return BenchmarkReport(
        runtime=result["runtime"],
        device=result["device"],
        threads=threads,
        precision=precision,
        clock=clock,
        shapes=tuple(tuple(x.shape) for x in sample.tensors),
        promised=promised,
        timings=timings,
    )


def _time_forms(
    files: Mapping[str, Path], sample: BoundInputs, settings: Mapping[str, Any], time_limit: float
) -> tuple[dict[str, Any], tuple[Timing, ...]]:
    """Time the `files`, by name of the form, on `sample`; return the worker's result and the timings."""
    keys, arrays = named_arrays([sample])
    job = {"models": [str(file) for file in files.values()], "inputs": keys[0], **settings}
    result, _ = run_in_process("benchmark", job, arrays, time_limit)
    rows = zip(files.items(), result["seconds"], result["operators"], strict=True)
    return result, tuple(
        Timing(form, tuple(seconds), _size(file), operators) for (form, file), seconds, operators in rows
    )


def _check_count(option: str, count: Any) -> None:
    if not isinstance(count, int) or count < 1:
        raise ExportError(f"{option}: expected a whole number from 1 on, got {count!r}")


def _write_forms(
    model: BinarizedModule,
    folder: Path,
    example_inputs: tuple[Any, ...] | None,
    int8: bool,
    time_limit: float,
) -> tuple[int, dict[str, Path]]:
    """Write each form of `model` into `folder`; return the number of call sites in 1 bit, and the files."""
    model = copy.deepcopy(model)
    files: dict[str, Path] = {}
    promised = 0
    for form, enabled in (("float32", False), ("1 bit", True)):
        model.binarization.enable(activations=enabled, weights=enabled)
        onnx_file = folder / f"{form}.onnx"
        with warnings.catch_warnings():
            # Neither of the two affects the speed.
            for told in ("not fully binarized", "never seen a training batch"):
                warnings.filterwarnings("ignore", f".*{told}", UserWarning)
            promised = export_onnx(model, onnx_file, example_inputs).count(ExportMode.ONE_BIT)
        files[form] = folder / f"{form}.xml"
        convert(onnx_file, files[form], [], (), time_limit)
        if int8:
            form8 = "int8" if not enabled else f"{form}, int8"
            files[form8] = folder / f"{form8}.xml"
            samples = list(_calibration(model, example_inputs))
            convert(onnx_file, files[form8], samples, (), time_limit)
    return promised, files


def _calibration(model: BinarizedModule, example_inputs: tuple[Any, ...] | None) -> Iterator[list[Any]]:
    """Yield random samples in the shapes of the example inputs; inputs that are not floats stay the same."""
    _, example = prepare(model, example_inputs, None)
    generator = torch.Generator().manual_seed(0)
    for _ in range(CALIBRATION_SAMPLES):
        yield [
            to_array(torch.randn(x.shape, generator=generator) if x.is_floating_point() else x)
            for x in example.tensors
        ]


def _size(path: Path) -> int:
    """Bytes of an .xml file and its .bin file together."""
    return path.stat().st_size + path.with_suffix(".bin").stat().st_size
