"""What the lower level of activations contributes to a convolution, as a constant that is added to it.

OpenVINO's 1-bit convolution is right for the levels 0 and s alone. Levels low and high are low plus 0 or
high - low, and the convolution of a constant can be computed in advance.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fxbin.binarizers.levels import Levels
from fxbin.lowering.conv_shapes import ConvShapes, padded_sides

if TYPE_CHECKING:
    import onnx

DOMAIN = "fxbin.export"
NAME = "AddLowLevel"
"""An operator during the export, which becomes standard operators in the file."""


class LowLevel(NamedTuple):
    """The convolution of an input that is the lower level everywhere, with zeros as padding.

    Only outputs near a padded border differ from the others, so a few rows and columns say all: the output in
    row i and column j is ``values[0, :, rows[i], columns[j]]``.
    """

    values: Tensor
    """``(1, out, distinct rows, distinct columns)``."""

    rows: Tensor
    """``(h,)``, int64."""

    columns: Tensor
    """``(w,)``, int64."""


def low_level(
    low: Tensor, signs: Tensor, w_levels: Levels, arguments: dict[str, Any], shapes: ConvShapes
) -> LowLevel:
    """The convolution of `low` with weights that are -a or a in each filter.

    Args:
        low: the lower level of the activations, one number.
        signs: a weight, ``(out, in, kh, kw)``, which is a where it is above 0.
        w_levels: -a and a, each ``(out, 1, 1, 1)`` or one number.
        arguments: of the convolution: ``stride``, ``padding`` and ``dilation``.
        shapes: of the convolution.
    """
    left, right, top, bottom = padded_sides(arguments, shapes)
    ones = F.pad(torch.ones(1, *shapes.x[1:], dtype=torch.float64), (left, right, top, bottom))
    ones_and_minus_ones = torch.where(signs > 0, 1.0, -1.0).double().cpu()
    # Sums of these are exact, so rows that should be equal are.
    sums = F.conv2d(ones, ones_and_minus_ones, stride=arguments["stride"], dilation=arguments["dilation"])
    distinct, rows = torch.unique(sums, dim=2, return_inverse=True)
    distinct, columns = torch.unique(distinct, dim=3, return_inverse=True)
    factor = w_levels.high.double().cpu().reshape(-1, 1, 1) * low.double().cpu().flatten()
    return LowLevel((distinct * factor).to(signs), rows.to(signs.device), columns.to(signs.device))


def add_low_level(y: Tensor, values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Add a `LowLevel` to the output of a convolution, as one ONNX node.

    This is only for ``torch.onnx.export``; when it runs, its values are undefined. The exporter would compute
    standard operators in advance, and store a number for each output.
    """
    inputs = (y, values, rows, columns)
    result: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{NAME}", inputs, dtype=y.dtype, shape=y.shape, version=1
    )
    return result


def standard_nodes(node: "onnx.NodeProto", prefix: str) -> list["onnx.NodeProto"]:
    """The standard operators in place of a `NAME` node; their values have names that begin with `prefix`."""
    from onnx import helper

    y, values, rows, columns = node.input
    by_row, by_pixel = f"{prefix}/low_level_rows", f"{prefix}/low_level"
    return [
        helper.make_node("Gather", [values, rows], [by_row], axis=2),
        helper.make_node("Gather", [by_row, columns], [by_pixel], axis=3),
        helper.make_node("Add", [y, by_pixel], list(node.output)),
    ]
