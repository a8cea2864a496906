"""Cuts one layer out of a file, as a separate model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

BINARIZERS = {"FakeQuantize", "Select"}
"""Types of operators that binarize activations in a file of fxbin: in 1 bit, and in standard operators."""


def cut_layer(model: Any, name: str, shape: list[int], behind: Sequence[str]) -> Any:
    """The convolution `name` of an ONNX file of fxbin with its binarizers, as a model with one input.

    `shape` is that of the input, `behind` the types of the operators behind the convolution that are part of
    the layer. None if the file has no such convolution with these operators.
    """
    import openvino
    from openvino import opset8

    convolution = next((x for x in model.get_ordered_ops() if _is_convolution_of(x, name)), None)
    if convolution is None:
        return None
    output = convolution
    for kind in behind:
        users = [user.get_node() for user in output.output(0).get_target_inputs()]
        output = next((user for user in users if user.get_type_name() == kind), None)
        if output is None:
            return None
    source = convolution.input_value(0).get_node().input(0)  # of the binarizer
    if source.get_element_type() == openvino.Type.boolean:  # which is a Select, after a Greater
        source = source.get_source_output().get_node().input(0)
    while list(source.get_shape()) != shape:  # a Pad, which another layer may share
        source = source.get_source_output().get_node().input(0)
    x = opset8.parameter(shape, np.float32)
    source.replace_source_output(x.output(0))
    return openvino.Model([output.output(0)], [x])


def _is_convolution_of(operator: Any, name: str) -> bool:
    # By its input, as one that computes an output of the model has the name of that.
    if operator.get_type_name() != "Convolution":
        return False
    binarizer = operator.input_value(0).get_node()
    return binarizer.get_type_name() in BINARIZERS and binarizer.get_friendly_name().startswith(f"{name}/")
