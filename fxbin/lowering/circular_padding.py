"""Rewrites circular padding with operators that every runtime knows."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn


def spell_out_circular_padding(module: fx.GraphModule) -> None:
    """Replace ``pad(x, amounts, mode="circular")`` in `module`, in place, by slices and concatenations.

    PyTorch's exporter writes Pad with the mode "wrap", which ONNX has only from opset 19 on, and which
    OpenVINO 2026.4.1 does not support.
    """
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target is nn.functional.pad:
            amounts, mode = _arguments(*node.args[1:], **node.kwargs)
            if mode == "circular" and all(isinstance(amount, int) and amount >= 0 for amount in amounts):
                node.target, node.args, node.kwargs = pad_circular, (node.args[0], tuple(amounts)), {}


def pad_circular(x: Tensor, amounts: Sequence[int]) -> Tensor:
    """Pad `x` with values from its opposite end: `amounts` before and after the last axis, and so on."""
    for axis, (before, after) in enumerate(zip(amounts[::2], amounts[1::2], strict=True), start=1):
        size = x.shape[-axis]
        parts = [x.narrow(-axis, size - before, before), x, x.narrow(-axis, 0, after)]
        x = torch.cat([part for part in parts if part.shape[-axis]], -axis)
    return x


def _arguments(
    pad: Any,
    mode: str = "constant",
    value: float | None = None,  # noqa: ARG001 (called with the arguments of F.pad)
) -> tuple[Any, str]:
    return (pad if isinstance(pad, tuple | list) else (None,)), mode
