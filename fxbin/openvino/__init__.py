"""Compiles, saves and verifies binarized models in OpenVINO, whose CPU plugin has 1-bit kernels."""

from fxbin.openvino.compile_model import compile  # noqa: A004 (as `re.compile`: called by its full name)
from fxbin.openvino.process import OpenVINOError
from fxbin.openvino.save import SavedModel, save
from fxbin.openvino.verify import verify
from fxbin.openvino.verify_report import LayerCheck, VerifyReport
from fxbin.verification.output_check import OutputCheck

__all__ = [
    "LayerCheck",
    "OpenVINOError",
    "OutputCheck",
    "SavedModel",
    "VerifyReport",
    "compile",
    "save",
    "verify",
]
