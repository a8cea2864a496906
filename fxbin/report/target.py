"""The runtimes for which a summary can tell what they will run in 1 bit."""

from typing import Literal

Target = Literal["engine", "onnxruntime", "openvino"]
"""A runtime for which `summary` can tell what will run in 1 bit."""

TARGETS = {"engine": "the engine", "onnxruntime": "onnxruntime", "openvino": "OpenVINO"}
"""Spelling of each `Target` in tables."""
