"""ONNX files of one operator of fxbin, and how onnxruntime runs them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

import fxbin
from fxbin.export.binary_conv2d import DOMAIN, VERSION, binary_conv2d_function, operator_name
from tests.engine.cases import Case

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

OPSET = 18
NODE = "layer1/conv2d_0"
Arrays = dict[str, NDArray[Any]]


def in_pixels(x: Tensor) -> NDArray[Any]:
    """``(n, h, w, c)`` of ``(n, c, h, w)``."""
    return x.permute(0, 2, 3, 1).contiguous().numpy()


class OneOperator:
    """A file of one operator that computes a case; everything of it can be changed before it is used."""

    def __init__(self, case: Case) -> None:
        x, thresholds, x_levels, weight_bits, w_levels, bias = case.args
        top, bottom, left, right = case.kwargs["padding"]
        self.name = operator_name("residual" in case.options, case.options.get("activation", "none"))
        self.inputs: Arrays = {"x": in_pixels(x)}
        bias = np.zeros(len(weight_bits), np.float32) if bias is None else bias.numpy()
        self.constants: Arrays = {
            "thresholds": thresholds.numpy(),
            "x_levels": x_levels.numpy(),
            "weight_bits": weight_bits.numpy(),
            "w_levels": w_levels.numpy(),
            "bias": bias,
        }
        if "residual" in case.options:
            self.inputs["residual"] = in_pixels(case.options["residual"])
        if "slope" in case.options:
            self.constants["slope"] = case.options["slope"].numpy()
        self.attributes: dict[str, Any] = {
            "kernel_shape": case.kwargs["kernel_size"],
            "strides": case.kwargs["stride"],
            "pads": [top, left, bottom, right],
            "dilations": case.kwargs["dilation"],
            "group": case.kwargs["groups"],
        }
        self.order = ["x", "thresholds", "x_levels", "weight_bits", "w_levels", "bias"]
        self.order += [name for name in ("residual", "slope") if name in self.inputs | self.constants]

    def model(self, *, with_definition: bool = True) -> bytes:
        """The file."""
        functions = [binary_conv2d_function(self.name, OPSET)] if with_definition else []
        node = helper.make_node(self.name, self.order, ["y"], name=NODE, domain=DOMAIN, **self.attributes)
        inputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim
            )
            for name, value in self.inputs.items()
        ]
        output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * 4)
        graph = helper.make_graph(
            [node],
            "one_operator",
            inputs,
            [output],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
        proto = helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=10)
        return bytes(proto.SerializeToString())

    def run(self, *, registered: bool = True) -> NDArray[Any]:
        """The output ``(n, f, oh, ow)``, by fxbin's operator or by its definition."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if registered:
            fxbin.register_custom_ops(options)
        model = self.model(with_definition=not registered)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, self.inputs)
        return np.moveaxis(np.asarray(y), -1, 1)


def operators_run(path: Path, x: Arrays, options: Any = None) -> tuple[list[NDArray[Any]], Counter[str]]:
    """The outputs of the file for `x`, and how many nodes of each operator onnxruntime ran for them."""
    options = options or onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(path.with_suffix(""))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = session.run(None, x)
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = (event["args"]["op_name"] for event in events if event["name"].endswith("_kernel_time"))
    return found, Counter(ran)
