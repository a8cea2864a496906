"""These tests need OpenVINO and the packages for the export."""

from importlib.util import find_spec

NEEDED = ("onnx", "onnxruntime", "onnxscript", "openvino", "nncf")

collect_ignore_glob = ["test_*.py"] if any(find_spec(name) is None for name in NEEDED) else []
