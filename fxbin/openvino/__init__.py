"""Compiles, saves, verifies and times binarized models in OpenVINO, whose CPU plugin has 1-bit kernels."""

from fxbin.openvino.bench import benchmark
from fxbin.openvino.bench_report import BenchmarkReport, Timing
from fxbin.openvino.compile_model import compile  # noqa: A004 (as `re.compile`: called by its full name)
from fxbin.openvino.process import OpenVINOError
from fxbin.openvino.save import SavedModel, save
from fxbin.openvino.verify import verify
from fxbin.openvino.verify_report import LayerCheck, VerifyReport
from fxbin.verification.output_check import OutputCheck

__all__ = [
    "BenchmarkReport",
    "LayerCheck",
    "OpenVINOError",
    "OutputCheck",
    "SavedModel",
    "Timing",
    "VerifyReport",
    "benchmark",
    "compile",
    "save",
    "verify",
]
