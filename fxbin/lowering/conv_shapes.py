"""Shapes, dtype and weight of a call site, as a run shows them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxbin.binarizers.axes import pair


@dataclass(frozen=True)
class ConvShapes:
    """Shapes, dtype and weight of a call site in a run on the example inputs."""

    x: tuple[int, ...]
    """Shape of the input: ``(1, 64, 56, 56)``."""

    y: tuple[int, ...]
    """Shape of the output."""

    dtype: torch.dtype
    """Dtype of the input."""

    weight: Tensor | None
    """Value of the weight before its binarizer; None if it depends on the input of the model."""

    after_sum: bool
    """Whether the input is a sum followed by a BatchNorm or the like, see `fxbin.lowering.sum_fusion`."""


def padded_sides(arguments: dict[str, Any], shapes: ConvShapes) -> tuple[int, int, int, int]:
    """Return the padding of the convolution as (left, right, top, bottom)."""
    padding = arguments["padding"]
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        assert shapes.weight is not None
        total = [
            dilation * (size - 1)
            for dilation, size in zip(pair(arguments["dilation"]), shapes.weight.shape[2:], strict=True)
        ]
        # torch puts the larger half at the end.
        return (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)
    vertical, horizontal = pair(padding)
    return (horizontal, horizontal, vertical, vertical)
