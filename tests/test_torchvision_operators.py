"""The stand-ins for torchvision's compiled operators do what those do."""

import torch

from tests.torchvision_operators import nms


def test_boxes_that_overlap_a_better_one_are_dropped() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30], [0, 0, 10, 5]])
    scores = torch.tensor([0.5, 0.9, 0.1, 0.3])
    # Overlaps with the second box: 81 of 100, none, and 36 of 95.
    assert nms(boxes, scores, 0.5).tolist() == [1, 3, 2]
    assert nms(boxes, scores, 0.3).tolist() == [1, 2]
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []
