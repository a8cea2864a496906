"""ONNX files with the patterns that OpenVINO gets wrong, written without fxbin."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 12


def write_conv(path: Path, channels: int, pads: tuple[int, int] = (0, 0), **options: Any) -> NDArray[Any]:
    """Write ``x -> FakeQuantize -> Conv <- FakeQuantize <- w`` with 8 filters of 3x3; return an input."""
    rng = np.random.default_rng(0)
    groups = options.get("group", 1)
    w = rng.standard_normal((8, channels // groups, 3, 3), dtype=np.float32)
    threshold, s, a = (
        np.full((1, 1, 1, 1), value, np.float32) for value in (0.3, options.pop("s", 0.7), 0.5)
    )
    constants = {"w": w, "t": threshold, "zero": np.zeros_like(s), "s": s, "minus": -a, "plus": a}
    nodes = [
        _fake_quantize(["x", "t", "t", "zero", "s"], "x_b"),
        _fake_quantize(["w", "zero", "zero", "minus", "plus"], "w_b"),
        helper.make_node("Conv", ["x_b", "w_b"], ["y"], pads=[*pads, *pads], **options),
    ]
    graph = helper.make_graph(
        nodes,
        "raw",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("org.openvinotoolkit", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=10), path)
    return rng.standard_normal((1, channels, SIZE, SIZE), dtype=np.float32)


def _fake_quantize(inputs: list[str], output: str) -> onnx.NodeProto:
    return helper.make_node("FakeQuantize", inputs, [output], domain="org.openvinotoolkit", levels=2)
