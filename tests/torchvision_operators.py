"""The operators of torchvision's compiled part that its detectors call, in Python.

Where that part does not load, importing torchvision works (tests/conftest.py), but detectors stop in front of
their first nms. With these they run, slowly: the original and what is transformed call the same ones.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from tests.conftest import TORCHVISION_OPERATORS


def run_in_python() -> None:
    """Define nms and roi_align for the rest of this process, unless the compiled ones are there."""
    if TORCHVISION_OPERATORS is None or torch._C._dispatch_has_kernel_for_dispatch_key(_NMS, "CPU"):
        return
    TORCHVISION_OPERATORS.impl("nms", nms, "CPU")
    # The package has functions under the names of their files.
    boxes: Any = import_module("torchvision.ops.boxes")
    boxes._assert_has_ops = lambda: None
    roi_align: Any = import_module("torchvision.ops.roi_align")
    # It has a Python version, made for a compiler; uncompiled it takes memory for each box.
    uncompiled = roi_align._roi_align.__wrapped__

    def in_pieces(x: Tensor, boxes: Tensor, *settings: Any) -> Tensor:
        return torch.cat([uncompiled(x, piece, *settings) for piece in boxes.split(32)])

    roi_align._roi_align = in_pieces


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes ``(n, 4)`` that overlap no box with a higher score by more than the threshold."""
    order = scores.argsort(descending=True, stable=True)
    x1, y1, x2, y2 = boxes[order].unbind(1)
    areas = (x2 - x1) * (y2 - y1)
    is_kept = torch.ones_like(order, dtype=torch.bool)
    for i in range(len(order) - 1):
        if is_kept[i]:
            width = (torch.minimum(x2[i], x2[i + 1 :]) - torch.maximum(x1[i], x1[i + 1 :])).clamp(min=0)
            height = (torch.minimum(y2[i], y2[i + 1 :]) - torch.maximum(y1[i], y1[i + 1 :])).clamp(min=0)
            shared = width * height
            is_kept[i + 1 :] &= shared / (areas[i] + areas[i + 1 :] - shared) <= iou_threshold
    return order[is_kept]


_NMS = "torchvision::nms"
