"""Models that no graph can hold as a whole, or that have an island in the middle."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from tests.transform_check import CONFIG


def block(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU())


class Pyramid(nn.Module):
    """Feature maps of three sizes, halved by a convolution and refined by one that all share."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 8)
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, stride=2, padding=1) for _ in range(2))
        self.lateral = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = [self.stem(x)]
        for conv in self.down:
            maps.append(F.relu(conv(maps[-1])))
        return {str(level): self.lateral(found) for level, found in enumerate(maps)}


class Head(nn.Module):
    """Called with the maps of all levels at once."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = block(8, 8)
        self.score = nn.Conv2d(8, 1, 1)
        self.box = nn.Conv2d(8, 4, 1)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        towers = [self.tower(found) for found in maps]
        return [self.score(x) for x in towers], [self.box(x) for x in towers]


class Crops(nn.Module):
    """Looks at a piece of a map for each box that was kept: any number, none included."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(F.relu(self.conv(x)).mean((2, 3)))
        return y


class Detector(nn.Module):
    """Images of several sizes in, a dict for each of them out; losses in training, which takes targets."""

    threshold = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid()
        self.head = Head()
        self.crops = Crops()
        self.dropout = nn.Dropout(0.3)

    def forward(self, images: list[Tensor], targets: list[Tensor] | None = None) -> Any:
        if self.training and targets is None:
            raise ValueError("targets should not be None when in training mode")
        height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
        batch = torch.stack(
            [F.pad(i, (0, width - i.shape[2], 0, height - i.shape[1])) for i in images],
        )
        maps = self.backbone(batch)
        scores, boxes = self.head(list(maps.values()))
        flat = torch.cat([score.flatten(1) for score in scores], 1).sigmoid()
        if self.training:
            assert targets is not None
            loss = F.binary_cross_entropy(self.dropout(flat).clamp(0, 1), torch.ones_like(flat))
            crops = self.crops(self.pieces(maps["0"][:1], len(targets[0])))
            return {"score": loss, "class": crops.sum(), "box": sum(box.square().mean() for box in boxes)}
        return [self.detect(flat[i], maps["0"][i : i + 1]) for i in range(len(images))]

    def detect(self, scores: Tensor, found: Tensor) -> dict[str, Tensor]:
        kept = torch.nonzero(scores > self.threshold).flatten()
        return {"kept": kept, "labels": self.crops(self.pieces(found, len(kept)))}

    def pieces(self, found: Tensor, count: int) -> Tensor:
        return found[:, :, :4, :4].expand(count, -1, -1, -1)


IMAGES = ([torch.rand(3, 16, 20)],)


def detector() -> BinarizedModule:
    return fxbin.transform(Detector(), CONFIG, IMAGES)


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.two = nn.Sequential(block(4, 4), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.two(x) if x.sum() > 0 else self.one(x)
        return y


class Inside(nn.Module):
    """A branch on content deep in a model that can be traced otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 4)
        self.branch = Branch()
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(F.dropout(self.branch(self.stem(x)), 0.2, self.training))
        return y
