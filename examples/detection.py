"""Detection: a detector of torchvision whose backbone becomes 1-bit, while pyramid and head stay as they are.

Shows `fxbin.transform` for one part of a model, a schedule for that part in a loop that trains everything, a
checkpoint of the whole detector, the detector with its backbone deployed, and an ONNX file of the backbone
that is compared with PyTorch.

    pip install 'fxbin[onnx]' torchvision
    python examples/detection.py   # about a minute on one CPU core
"""

from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import box_iou

import fxbin
from options import read_options
from shapes import SHAPES, Drawings, Picture

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


def detector(size: int, epochs: int) -> FCOS:
    """A small FCOS (Tian et al. 2019, arXiv:1904.01355), with a ResNet whose convolutions are binarized.

    With trained weights, load them before the transform. It would take the whole detector, too, but only what
    a graph can hold can be deployed and exported, and the selection of boxes is no graph.
    """
    body = ResNet(BasicBlock, [1, 1, 1, 1])
    backbone = BackboneWithFPN(body, {"layer2": "0", "layer3": "1"}, [128, 256], out_channels=64)
    anchors = AnchorGenerator(sizes=((8,), (16,), (32,)), aspect_ratios=((1.0,),) * 3)
    head = FCOSHead(64, num_anchors=1, num_classes=len(SHAPES), num_convs=2)
    settings = {"min_size": size, "max_size": size, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    model = FCOS(backbone, len(SHAPES), anchor_generator=anchors, head=head, **settings)
    config = {
        "preset": "recommended",
        "input_info": {"sample_size": [1, 3, size, size]},
        "compression": {
            "algorithm": "binarization",
            "ignored_scopes": ["conv1", r"{re}\[downsample\]"],
            "params": {
                "activations_quant_start_epoch": epochs // 4,
                "weights_quant_start_epoch": epochs // 2,
                "lr_poly_drop_start_epoch": epochs * 5 // 8,
                "lr_poly_drop_duration_epochs": epochs - epochs * 5 // 8,
            },
        },
    }
    model.backbone.body = fxbin.transform(model.backbone.body, config)
    return model


@torch.no_grad()
def found_and_right(model: FCOS, loader: DataLoader[Any]) -> tuple[float, float]:
    """Percentage of the drawn shapes that `model` finds, and of what it finds that is there."""
    model.eval()
    drawn, found, boxes, right = 0, 0, 0, 0
    for pictures, targets in loader:
        for result, target in zip(model(pictures), targets, strict=True):
            sure = result["scores"] > 0.4
            fits = box_iou(target["boxes"], result["boxes"][sure]) > 0.5
            fits &= target["labels"][:, None] == result["labels"][sure]
            drawn, found = drawn + len(fits), found + int(fits.any(1).sum())
            boxes, right = boxes + int(sure.sum()), right + int(fits.any(0).sum())
    return 100 * found / max(drawn, 1), 100 * right / max(boxes, 1)


def collate(items: list[Picture]) -> Batch:
    """A batch, as detectors of torchvision take it."""
    return [item.pixels for item in items], [{"boxes": item.boxes, "labels": item.labels} for item in items]


def main() -> None:
    """Train, save and load, deploy the backbone in the detector, and export it."""
    options = read_options("runs/detection", pictures=256, least=16, side_of=32)

    torch.manual_seed(0)
    train_set = Drawings(options.pictures, options.size, seed=0)
    test_set = Drawings(options.pictures // 4, options.size, seed=1)
    loader = DataLoader(train_set, 8, shuffle=True, drop_last=True, collate_fn=collate)
    test_loader = DataLoader(test_set, 32, collate_fn=collate)

    model = detector(options.size, options.epochs)
    body = model.backbone.body
    print(fxbin.summary(body))
    others = [p for name, p in model.named_parameters() if not name.startswith("backbone.body.")]
    optimizer = torch.optim.Adam([*fxbin.parameter_groups(body), {"params": others, "lr": 1e-3}])
    schedule = fxbin.StagedSchedule(body, optimizer)
    for epoch in range(options.epochs):
        schedule.start_epoch(epoch)
        model.train()
        for step, (pictures, targets) in enumerate(loader):
            loss = sum(model(pictures, targets).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step((step + 1) / len(loader))
        fxbin.reestimate_batch_norm(body, (torch.stack(pictures) for pictures, _ in islice(loader, 20)))
        found, right = found_and_right(model, test_loader)
        print(f"epoch {epoch:2}  {schedule.stage:24} found {found:6.2f} %, right {right:6.2f} %")

    torch.save(model.state_dict(), options.output / "model.pt")
    loaded = detector(options.size, options.epochs)
    loaded.load_state_dict(torch.load(options.output / "model.pt"))
    body = loaded.backbone.body.eval()
    loaded.backbone.body = fxbin.deploy(body)
    found, right = found_and_right(loaded, test_loader)
    print(f"loaded, backbone deployed           found {found:6.2f} %, right {right:6.2f} %")

    file = options.output / "backbone.onnx"
    print(fxbin.export_onnx(body, file))
    samples = [test_set[index].pixels[None] for index in range(4)]
    compared = fxbin.compare_runtimes(body, file, samples, runtimes=["onnxruntime"])
    print(compared)
    if not compared.is_right:
        raise SystemExit("the file does not compute what PyTorch computes")


if __name__ == "__main__":
    main()
