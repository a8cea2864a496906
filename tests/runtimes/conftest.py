"""Some of these tests need the runtimes."""

from importlib.util import find_spec

NEEDED = ("onnx", "onnxruntime", "onnxscript", "openvino")

collect_ignore = ["test_compare_runtimes.py"] if any(find_spec(name) is None for name in NEEDED) else []
