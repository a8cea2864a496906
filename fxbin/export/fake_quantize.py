"""FakeQuantize with two levels: OpenVINO's own operator, and a definition for everybody else."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import onnx

DOMAIN = "org.openvinotoolkit"
NAME = "FakeQuantize"
VERSION = 1

SCOPE = "fxbin.scope"
"""Metadata key of an ONNX node: hierarchical name of what it came from."""

MODE = "fxbin.mode"
"""Metadata key of a FakeQuantize while a file is made: the `ExportMode` its call site gets."""

ROLE = "fxbin.role"
"""Metadata key of a FakeQuantize while a file is made: ``"activation"`` or ``"weight"``."""


def fake_quantize(x: Tensor, threshold: Tensor, low: Tensor, high: Tensor, role: str, mode: str) -> Tensor:
    """`high` where ``x > threshold``, else `low` (NaN too), as one ONNX node.

    Only ``torch.onnx.export`` gives the call a meaning; run otherwise, its values are undefined.
    The constants broadcast to `x`, all of one dtype.
    """
    result: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{NAME}",
        (x, threshold, threshold, low, high),
        {"levels": 2},
        dtype=x.dtype,
        shape=x.shape,
        version=VERSION,
        metadata_props={ROLE: role, MODE: mode},
    )
    return result


def fake_quantize_function(opset: int) -> "onnx.FunctionProto":
    """FakeQuantize with ``levels=2`` and equal input limits, in standard operators.

    A runtime that knows the operator uses its own, any other one this body. OpenVINO's definition
    (FakeQuantize-1) has ``x <= min(in_low, in_high)`` go to ``out_low`` first: with ``in_low == in_high``
    that is a strict ``>``, as here.

    The body uses every input: onnxslim removes one that it does not use from the function and leaves it in
    the calls, which onnxruntime then refuses and OpenVINO computes other numbers from.
    """
    from onnx import helper

    return helper.make_function(
        DOMAIN,
        NAME,
        ["x", "in_low", "in_high", "out_low", "out_high"],
        ["y"],
        [
            helper.make_node("Max", ["in_low", "in_high"], ["threshold"]),
            helper.make_node("Greater", ["x", "threshold"], ["above"]),
            helper.make_node("Where", ["above", "out_high", "out_low"], ["y"]),
        ],
        [helper.make_opsetid("", opset)],
        attributes=["levels"],
        doc_string="Two levels: out_high where x > in_high, else out_low. Needs in_low == in_high.",
    )
