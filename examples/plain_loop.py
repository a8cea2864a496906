"""A training loop of your own: from a float network to one of 1 bit, in stages, and to a file.

Shows `fxbin.transform` for a network of your own, `StagedSchedule` in a loop, BatchNorm statistics estimated
anew before each evaluation, stopping and resuming, the best epoch of the last stage, `fxbin.deploy`, and an
ONNX file that is compared with PyTorch.

    pip install 'fxbin[onnx]' mlxtend
    python examples/plain_loop.py            # about a minute on one CPU core
    python examples/plain_loop.py --resume   # goes on where it was stopped
"""

from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

import fxbin
from digits import digits
from options import read_options


def network() -> nn.Sequential:
    """A plain convolutional network, as you may have one: nothing in it knows about 1 bit."""

    def layer(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        conv2d = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        return [conv2d, nn.BatchNorm2d(outputs), nn.ReLU()]

    stem, body = layer(1, 32, 2), [*layer(32, 32), *layer(32, 64, 2), *layer(64, 64), *layer(64, 64)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def config(epochs: int) -> dict[str, Any]:
    """The stages: full precision for a quarter of the epochs, then activations, then weights as well."""
    return {
        "preset": "recommended",
        "input_info": {"sample_size": [1, 1, 28, 28]},
        "compression": {
            "algorithm": "binarization",
            "ignored_scopes": ["0"],  # the first convolution, by its name in the network
            "params": {
                "activations_quant_start_epoch": epochs // 4,
                "weights_quant_start_epoch": epochs // 2,
                "lr_poly_drop_start_epoch": epochs * 5 // 8,
                "lr_poly_drop_duration_epochs": epochs - epochs * 5 // 8,
            },
        },
    }


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[Any]) -> float:
    """Percentage of the pictures that `model` classifies right."""
    model.eval()
    right = torch.cat([model(x).argmax(1) == y for x, y in loader])
    return 100 * float(right.float().mean())


def main() -> None:
    """Train, keep the best epoch, deploy and export."""
    options = read_options(
        "runs/plain_loop", pictures=5000, least=80, most=5000, resumed_from="checkpoint.pt"
    )
    checkpoint, best_file = options.output / "checkpoint.pt", options.output / "best.pt"

    torch.manual_seed(0)
    train_set, test_set = digits(options.pictures)
    loader = DataLoader(train_set, batch_size=64, shuffle=True, drop_last=True)
    test_loader = DataLoader(test_set, batch_size=250)

    model = fxbin.transform(network(), config(options.epochs))
    print(fxbin.summary(model))
    optimizer = torch.optim.Adam(fxbin.parameter_groups(model))
    schedule = fxbin.StagedSchedule(model, optimizer)

    first, best = 0, -1.0
    if options.resume:
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        first, best = saved["epoch"] + 1, saved["best"]

    for epoch in range(first, options.epochs):
        schedule.start_epoch(epoch)
        model.train()
        for step, (x, y) in enumerate(loader):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step((step + 1) / len(loader))
        # The running statistics still hold batches from before the last signs have flipped.
        fxbin.reestimate_batch_norm(model, islice(loader, 20))
        percent = accuracy(model, test_loader)
        print(f"epoch {epoch:2}  {schedule.stage:24} {percent:6.2f} %")
        # A network in full precision is more accurate than the one of 1 bit that it becomes.
        if schedule.is_final and percent > best:
            best = percent
            torch.save(model.state_dict(), best_file)
        saved = {"epoch": epoch, "best": best, "schedule": schedule.state_dict()}
        saved |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(saved, checkpoint)

    model.load_state_dict(torch.load(best_file))
    print(f"best epoch of 1 bit              {best:6.2f} %")
    print(f"deployed, with bits for weights  {accuracy(fxbin.deploy(model), test_loader):6.2f} %")

    file = options.output / "model.onnx"
    print(fxbin.export_onnx(model.eval(), file))
    pictures = test_set.tensors[0][:16].split(1)
    compared = fxbin.compare_runtimes(model, file, pictures, runtimes=["onnxruntime"])
    print(compared)
    if not compared.is_right:
        raise SystemExit("the file does not compute what PyTorch computes")


if __name__ == "__main__":
    main()
