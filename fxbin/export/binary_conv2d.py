"""fxbin's own ONNX operators, a two-level convolution and what follows it, and their definitions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fxbin.engine.binary_conv2d import output_size
from fxbin.engine.in_float import LIMITS

if TYPE_CHECKING:
    import onnx

DOMAIN = "fxbin"
VERSION = 1

ACTIVATIONS = {"none": "", "relu": "Relu", "prelu": "PRelu", "relu6": "Relu6", "hardtanh": "Hardtanh"}
"""Activations of `fxbin.engine.operators.binary_conv2d`, and what they add to the name of an operator."""

INPUTS = ("x", "thresholds", "x_levels", "weight_bits", "w_levels", "bias")
"""Inputs that every operator has; the residual and the slope follow if its name says so."""

ATTRIBUTES = ("kernel_shape", "strides", "pads", "dilations", "group")
"""Attributes of the operators, with the names and meanings of ONNX's Conv."""


def operator_name(has_residual: bool, activation: str) -> str:
    """Return the name of the operator that computes this: ``"BinaryConv2dAddRelu"``.

    There are several because the definition of an operator cannot tell whether an optional input is given.
    """
    return f"BinaryConv2d{'Add' if has_residual else ''}{ACTIVATIONS[activation]}"


DESCRIPTION = (
    "A convolution of pictures (n, h, w, c): of inputs that are high where x > thresholds, else low, and "
    "weights that are high where their bit is set, else low. Bits are (filters, taps, bytes); the first "
    "channel is the lowest bit of the first byte."
)

OPERATORS = {
    operator_name(has_residual, activation): (has_residual, activation)
    for has_residual in (False, True)
    for activation in ACTIVATIONS
}
"""All operators of the domain."""


def binary_conv2d(
    x: Tensor,
    vectors: Sequence[Tensor],
    residual: Tensor | None,
    slope: Tensor | None,
    *,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    activation: str,
) -> Tensor:
    """Return the output of one ONNX node for ``torch.ops.fxbin.binary_conv2d``, float32 ``(n, h, w, c)``.

    This is only for ``torch.onnx.export``; when it runs, its values are undefined. `vectors` are the inputs
    between x and the residual, in the order of `INPUTS`. The result is ``(n, oh, ow, f)``, like the residual.
    """
    filters = vectors[INPUTS.index("weight_bits") - 1].shape[0]
    size = output_size(x.shape[1:3], kernel_size, stride, padding, dilation)
    top, bottom, left, right = padding
    attributes: dict[str, Any] = {
        "kernel_shape": list(kernel_size),
        "strides": list(stride),
        "pads": [top, left, bottom, right],
        "dilations": list(dilation),
        "group": groups,
    }
    result: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{operator_name(residual is not None, activation)}",
        (x, *vectors, *(extra.float() for extra in (residual, slope) if extra is not None)),
        attributes,
        dtype=x.dtype,
        shape=(x.shape[0], *size, filters),
        version=VERSION,
    )
    return result


def binary_conv2d_function(name: str, opset: int) -> "onnx.FunctionProto":
    """Return the definition of the operator `name` in standard operators, in float.

    A runtime in which fxbin's own operator is registered runs that one; any other runtime runs this body.
    What depends only on constants is computed once, when a file is loaded: bits then become float weights.
    """
    from onnx import helper

    has_residual, activation = OPERATORS[name]
    inputs = [*INPUTS, *(["residual"] if has_residual else []), *(["slope"] if activation == "prelu" else [])]
    nodes = [*_activation_nodes(), *_weight_nodes()]
    conv = helper.make_node("Conv", ["a", "w", "bias"], ["convolved"])
    conv.attribute.extend(_reference(attribute, attribute) for attribute in ATTRIBUTES)
    nodes += [conv, helper.make_node("Transpose", ["convolved"], ["pixels"], perm=[0, 2, 3, 1])]
    y = "pixels"
    if has_residual:
        nodes.append(helper.make_node("Add", [y, "residual"], ["sum"]))
        y = "sum"
    nodes += _last_nodes(activation, y)
    return helper.make_function(
        DOMAIN,
        name,
        inputs,
        ["y"],
        nodes,
        [helper.make_opsetid("", opset)],
        attributes=list(ATTRIBUTES),
        doc_string=DESCRIPTION,
    )


def _activation_nodes() -> list["onnx.NodeProto"]:
    """Return nodes that compute the two-level input `a` ``(n, c, h, w)`` from `x`."""
    from onnx import helper

    return [
        helper.make_node("Greater", ["x", "thresholds"], ["fires"]),
        helper.make_node("Split", ["x_levels"], ["x_low", "x_high"], axis=0, num_outputs=2),
        helper.make_node("Where", ["fires", "x_high", "x_low"], ["levels"]),
        helper.make_node("Transpose", ["levels"], ["a"], perm=[0, 3, 1, 2]),
    ]


def _weight_nodes() -> list["onnx.NodeProto"]:
    """Return nodes that compute the two-level weight `w` ``(f, c / group, kh, kw)`` from `weight_bits`.

    bytes -> their bits from a table -> (f, taps, c / group), cut -> (f, c / group, kh, kw)
    """
    import numpy as np  # imported here, because the engine alone needs neither
    from onnx import helper, numpy_helper

    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(bool)
    kernel, group = (helper.make_node("Constant", [], [name]) for name in ("kernel", "groups"))
    kernel.attribute.append(_reference("value_ints", "kernel_shape"))
    group.attribute.append(_reference("value_int", "group"))
    return [
        kernel,
        group,
        helper.make_node("Constant", [], ["table"], value=numpy_helper.from_array(bits)),
        helper.make_node("Constant", [], ["rows_shape"], value_ints=[0, 0, -1]),
        helper.make_node("Constant", [], ["first"], value_ints=[0]),
        helper.make_node("Constant", [], ["last_axis"], value_ints=[2]),
        helper.make_node("Constant", [], ["kept_axes"], value_ints=[0, 0]),
        helper.make_node("Constant", [], ["filter_shape"], value_ints=[-1, 1, 1, 1]),
        helper.make_node("Cast", ["weight_bits"], ["indices"], to=_int32()),
        helper.make_node("Gather", ["table", "indices"], ["eights"], axis=0),
        helper.make_node("Reshape", ["eights", "rows_shape"], ["rows"]),
        helper.make_node("Shape", ["thresholds"], ["channels"]),
        helper.make_node("Div", ["channels", "groups"], ["group_channels"]),
        helper.make_node("Slice", ["rows", "first", "group_channels", "last_axis"], ["by_tap"]),
        helper.make_node("Transpose", ["by_tap"], ["by_channel"], perm=[0, 2, 1]),
        helper.make_node("Concat", ["kept_axes", "kernel"], ["weight_shape"], axis=0),
        helper.make_node("Reshape", ["by_channel", "weight_shape"], ["is_high"]),
        helper.make_node("Split", ["w_levels"], ["w_lows", "w_highs"], axis=0, num_outputs=2),
        helper.make_node("Reshape", ["w_lows", "filter_shape"], ["w_low"]),
        helper.make_node("Reshape", ["w_highs", "filter_shape"], ["w_high"]),
        helper.make_node("Where", ["is_high", "w_high", "w_low"], ["w"]),
    ]


def _last_nodes(activation: str, x: str) -> list["onnx.NodeProto"]:
    """Return nodes that compute `y` from `x` by the activation."""
    from onnx import helper

    usual = {"none": ("Identity", [x]), "relu": ("Relu", [x]), "prelu": ("PRelu", [x, "slope"])}
    if activation in usual:
        operator, operands = usual[activation]
        return [helper.make_node(operator, operands, ["y"])]
    least, most = LIMITS[activation]
    return [
        helper.make_node("Constant", [], ["least"], value_float=least),
        helper.make_node("Constant", [], ["most"], value_float=most),
        helper.make_node("Clip", [x, "least", "most"], ["y"]),
    ]


def _reference(name: str, attribute: str) -> "onnx.AttributeProto":
    """Return an attribute `name` for a node in the body, with the value of `attribute` of the call."""
    from onnx import AttributeProto

    kind = AttributeProto.INT if attribute == "group" else AttributeProto.INTS
    return AttributeProto(name=name, ref_attr_name=attribute, type=kind)


def _int32() -> int:
    from onnx import TensorProto

    return int(TensorProto.INT32)
