"""Segmentation: a U-Net whose layers between the first and the last become 1-bit.

Shows a network that enlarges and concatenates, which of its layers stay in full precision, a loss for each
pixel, the mean IoU, and an ONNX file that is compared with PyTorch.

    pip install 'fxbin[onnx]'
    python examples/segmentation.py   # about a minute and a half on one CPU core
"""

from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import fxbin
from options import read_options
from shapes import SHAPES, Drawings, Picture


def layers(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with BatchNorm and ReLU."""
    first = (nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
    second = (nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
    return nn.Sequential(*first, *second)


class UNet(nn.Module):
    """A small U-Net (Ronneberger et al. 2015, arXiv:1505.04597).

    Shapes: x ``(n, 3, h, w)`` to logits ``(n, classes, h, w)``; h and w are multiples of 4.
    """

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList([layers(width, 2 * width), layers(2 * width, 4 * width)])
        self.up = nn.ModuleList([layers(6 * width, 2 * width), layers(3 * width, width)])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the classes for each pixel."""
        x = F.relu(self.stem(x))
        seen = []
        for down in self.down:
            seen.append(x)
            x = down(F.max_pool2d(x, 2))
        for up in self.up:
            x = F.interpolate(x, scale_factor=2.0)
            x = up(torch.cat([x, seen.pop()], dim=1))
        logits: Tensor = self.head(x)
        return logits


def config(size: int, epochs: int) -> dict[str, Any]:
    """Full precision for a quarter of the epochs, then activations in 1 bit, then weights as well."""
    return {
        "preset": "recommended",
        "input_info": {"sample_size": [1, 3, size, size]},
        "compression": {
            "algorithm": "binarization",
            "ignored_scopes": ["stem", "head"],
            "params": {
                "activations_quant_start_epoch": epochs // 4,
                "weights_quant_start_epoch": epochs // 2,
                "lr_poly_drop_start_epoch": epochs * 5 // 8,
                "lr_poly_drop_duration_epochs": epochs - epochs * 5 // 8,
            },
        },
    }


@torch.no_grad()
def mean_iou(model: nn.Module, batches: DataLoader[Any]) -> float:
    """Intersection over union of what `model` finds and what is there, in percent, averaged over classes."""
    model.eval()
    both, either = torch.zeros(len(SHAPES)), torch.zeros(len(SHAPES))
    for x, classes in batches:
        found = model(x).argmax(1)
        for each in range(len(SHAPES)):
            both[each] += ((found == each) & (classes == each)).sum()
            either[each] += ((found == each) | (classes == each)).sum()
    return 100 * float((both / either).mean())


def collate(items: list[Picture]) -> tuple[Tensor, Tensor]:
    """A batch: pictures, and the classes of their pixels."""
    return torch.stack([item.pixels for item in items]), torch.stack([item.classes for item in items])


def main() -> None:
    """Train, save and export."""
    options = read_options("runs/segmentation", pictures=256, least=16, side_of=4)

    torch.manual_seed(0)
    train_set = Drawings(options.pictures, options.size, seed=0)
    test_set = Drawings(options.pictures // 4, options.size, seed=1)
    loader = DataLoader(train_set, 8, shuffle=True, drop_last=True, collate_fn=collate)
    test_loader = DataLoader(test_set, 32, collate_fn=collate)

    model = fxbin.transform(UNet(len(SHAPES)), config(options.size, options.epochs))
    print(fxbin.summary(model))
    optimizer = torch.optim.Adam(fxbin.parameter_groups(model))
    schedule = fxbin.StagedSchedule(model, optimizer)
    for epoch in range(options.epochs):
        schedule.start_epoch(epoch)
        model.train()
        for step, (x, classes) in enumerate(loader):
            loss = F.cross_entropy(model(x), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step((step + 1) / len(loader))
        fxbin.reestimate_batch_norm(model, islice(loader, 20))
        print(f"epoch {epoch:2}  {schedule.stage:24} mean IoU {mean_iou(model, test_loader):6.2f} %")

    torch.save(model.state_dict(), options.output / "model.pt")
    file = options.output / "model.onnx"
    print(fxbin.export_onnx(model.eval(), file))
    samples = [test_set[index].pixels[None] for index in range(4)]
    compared = fxbin.compare_runtimes(model, file, samples, runtimes=["onnxruntime"])
    print(compared)
    if not compared.is_right:
        raise SystemExit("the file does not compute what PyTorch computes")


if __name__ == "__main__":
    main()
