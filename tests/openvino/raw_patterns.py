"""ONNX files with the patterns that OpenVINO gets wrong, written without fxbin."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fxbin.export.fake_quantize import fake_quantize_function

SIZE = 12
OPSET = 18

Constants = dict[str, NDArray[Any]]
Pattern = Callable[[Constants], list[onnx.NodeProto]]
"""Makes the nodes, from ``x`` to ``y``, and may change or add to the constants."""


def write_conv(path: Path, channels: int, pads: tuple[int, int] = (0, 0), **options: Any) -> NDArray[Any]:
    """Write ``x -> FakeQuantize -> Conv <- FakeQuantize <- w`` with 8 filters of 3x3; return an input."""
    s = options.pop("s", 0.7)

    def pattern(constants: Constants) -> list[onnx.NodeProto]:
        constants["s"][:] = s
        return [activation(), weight(), conv(pads=[*pads, *pads], **options)]

    return write_pattern(path, pattern, channels, options.get("group", 1))


def write_pattern(path: Path, pattern: Pattern, channels: int = 16, groups: int = 1) -> NDArray[Any]:
    """Write the nodes of `pattern`, on constants for 8 filters of 3x3; return an input."""
    rng = np.random.default_rng(0)
    constants = {
        name: rng.standard_normal((8, channels // groups, 3, 3), dtype=np.float32) for name in ("w", "v")
    }
    for name, value in (("t", 0.3), ("zero", 0), ("s", 0.7), ("minus", -0.5), ("plus", 0.5)):
        constants[name] = np.full((1, 1, 1, 1), value, np.float32)
    nodes = pattern(constants)
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "raw",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("org.openvinotoolkit", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)
    model.functions.append(fake_quantize_function(OPSET))  # for onnxruntime; OpenVINO has its own
    onnx.save(model, path)
    return rng.standard_normal((1, channels, SIZE, SIZE), dtype=np.float32)


def activation(output: str = "x_b", low: str = "zero") -> onnx.NodeProto:
    return _fake_quantize(["x", "t", "t", low, "s"], output)


def weight(w: str = "w", output: str = "w_b") -> onnx.NodeProto:
    return _fake_quantize([w, "zero", "zero", "minus", "plus"], output)


def conv(x: str = "x_b", w: str = "w_b", output: str = "y", **options: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, w], [output], **options)


def _fake_quantize(inputs: list[str], output: str) -> onnx.NodeProto:
    return helper.make_node("FakeQuantize", inputs, [output], domain="org.openvinotoolkit", levels=2)


def several_consumers(_: Constants) -> list[onnx.NodeProto]:
    return [
        activation(),
        *(weight(), conv(output="y1")),
        *(weight("v", "v_b"), conv(w="v_b", output="y2")),
        helper.make_node("Add", ["y1", "y2"], ["y"]),
    ]


def equal_ones_on_one_input(_: Constants) -> list[onnx.NodeProto]:
    return [
        *(activation("x_b"), weight(), conv(output="y1")),
        *(activation("x_c"), weight("v", "v_b"), conv("x_c", "v_b", "y2")),
        helper.make_node("Add", ["y1", "y2"], ["y"]),
    ]


def weights_folded(constants: Constants) -> list[onnx.NodeProto]:
    constants["w"] = np.where(constants["w"] > 0, constants["plus"], constants["minus"])
    return [activation(), conv(w="w")]


def only_weights(_: Constants) -> list[onnx.NodeProto]:
    return [weight(), conv("x")]


def scale_per_channel(constants: Constants) -> list[onnx.NodeProto]:
    constants["s"] = np.linspace(0.5, 1, 16, dtype=np.float32).reshape(1, 16, 1, 1)
    return [activation(), weight(), conv()]


def weight_scale_per_input_channel(constants: Constants) -> list[onnx.NodeProto]:
    constants["plus"] = np.linspace(0.5, 1, 16, dtype=np.float32).reshape(1, 16, 1, 1)
    constants["minus"] = -constants["plus"]
    return [activation(), weight(), conv()]


def filter_of_zeros(constants: Constants) -> list[onnx.NodeProto]:
    constants["plus"] = np.linspace(0.5, 1, 8, dtype=np.float32).reshape(8, 1, 1, 1)
    constants["plus"][3] = 0
    constants["minus"] = -constants["plus"]
    return [activation(), weight(), conv()]


def minus_s_and_s(constants: Constants) -> list[onnx.NodeProto]:
    constants["low"] = -constants["s"]
    return [activation(low="low"), weight(), conv()]


def greater_and_where(constants: Constants) -> list[onnx.NodeProto]:
    constants["w"] = np.where(constants["w"] > 0, constants["plus"], constants["minus"])
    return [
        helper.make_node("Greater", ["x", "t"], ["above"]),
        helper.make_node("Where", ["above", "s", "zero"], ["x_b"]),
        conv(w="w"),
    ]
