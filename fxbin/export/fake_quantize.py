"""FakeQuantize with two levels: OpenVINO's operator, and its definition for other runtimes."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import onnx

DOMAIN = "org.openvinotoolkit"
NAME = "FakeQuantize"
VERSION = 1

SCOPE = "fxbin.scope"
"""Metadata key of an ONNX node: the hierarchical name of the node it was exported from."""

MODE = "fxbin.mode"
"""Metadata key of a FakeQuantize during the export: the `ExportMode` of its call site."""

ROLE = "fxbin.role"
"""Metadata key of a FakeQuantize during the export: ``"activation"`` or ``"weight"``."""


def fake_quantize(x: Tensor, threshold: Tensor, low: Tensor, high: Tensor, role: str, mode: str) -> Tensor:
    """Return `high` where ``x > threshold``, else `low`, also for NaN, as one ONNX node.

    This is only for ``torch.onnx.export``; when it runs, its values are undefined. The constants broadcast to
    `x` and have its dtype.
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
    """Return the definition of FakeQuantize with ``levels=2`` and equal input limits in standard operators.

    A runtime that knows the operator runs its own implementation; any other runs this body. OpenVINO's
    definition (FakeQuantize-1) maps ``x <= min(in_low, in_high)`` to ``out_low`` first, which for
    ``in_low == in_high`` is the strict ``>`` used here.

    The body uses every input: onnxslim removes an unused input from the function but not from the calls,
    which onnxruntime then rejects, and from which OpenVINO computes other numbers.
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
