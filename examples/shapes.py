"""Pictures of shapes that the examples for segmentation and detection learn from; yours take their place."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

SHAPES = ("background", "disc", "square", "triangle")
"""The classes of pixels and boxes, by their numbers."""


class Picture(NamedTuple):
    """A picture, and what is in it."""

    pixels: Tensor
    """Colours ``(3, size, size)``, with a mean near 0."""

    classes: Tensor
    """The class of each pixel, ``(size, size)``."""

    boxes: Tensor
    """Left, top, right and bottom edge of each shape, in pixels, ``(shapes, 4)``."""

    labels: Tensor
    """The class of each shape, ``(shapes,)``."""


class Drawings(Dataset[Picture]):
    """`count` pictures of one to four shapes each, which do not overlap, in random colours, and noise."""

    def __init__(self, count: int, size: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.pictures = [draw(size, generator) for _ in range(count)]

    def __len__(self) -> int:
        """The number of pictures."""
        return len(self.pictures)

    def __getitem__(self, index: int) -> Picture:
        """One of the pictures."""
        return self.pictures[index]


def draw(size: int, generator: torch.Generator) -> Picture:
    """Draw a picture ``(3, size, size)``; each of its quarters holds a shape or none."""

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    pixels = torch.randn(3, size, size, generator=generator) / 2
    classes = torch.zeros(size, size, dtype=torch.long)
    boxes, labels = [], []
    half = size // 2
    for quarter in torch.randperm(4, generator=generator)[: whole(1, 5)].tolist():
        side = whole(half // 2, half - 2)
        left = quarter % 2 * half + whole(0, half - side)
        top = quarter // 2 * half + whole(0, half - side)
        label = whole(1, len(SHAPES))
        inside = is_inside(SHAPES[label], side)
        place = (..., slice(top, top + side), slice(left, left + side))
        pixels[place][:, inside] += 2 * F.normalize(torch.randn(3, 1, generator=generator), dim=0)
        classes[place][inside] = label
        boxes.append([left, top, left + side, top + side])
        labels.append(label)
    return Picture(pixels, classes, torch.tensor(boxes).float(), torch.tensor(labels))


def is_inside(shape: str, side: int) -> Tensor:
    """Which pixels of a square ``(side, side)`` belong to a shape that touches its four edges."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    if shape == "disc":
        return x**2 + y**2 <= 1
    if shape == "triangle":
        return x.abs() <= (y + 1) / 2
    return torch.ones(side, side, dtype=torch.bool)
