"""Lightning's Trainer: a LightningModule whose network is trained into 1 bit in stages.

Shows `fxbin.lightning.StagedBinarization`, the callback that runs the stages, and `FinalCheckpoint`, which
keeps the best epoch of those in 1 bit; stopping and resuming; and an ONNX file that is compared with PyTorch.

    pip install 'fxbin[onnx,lightning]' mlxtend
    python examples/with_lightning.py            # about a minute on one CPU core
    python examples/with_lightning.py --resume   # goes on where it was stopped
"""

from itertools import islice

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

import fxbin
from digits import digits
from fxbin.lightning import FinalCheckpoint, StagedBinarization
from options import read_options


class Block(nn.Module):
    """Two convolutions and a shortcut, as in a ResNet."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways, after a ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Classifier(LightningModule):
    """Classifies digits; its `net` is what `fxbin.transform` returns, and all else is as always."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        net = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
            *(Block(32, 32, 1), Block(32, 64, 2)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
        )
        config = {
            "preset": "recommended",
            "input_info": {"sample_size": [1, 1, 28, 28]},
            "compression": {
                "algorithm": "binarization",
                "ignored_scopes": ["0", r"{re}\[shortcut\]"],  # the first convolution, and those on shortcuts
                "params": {
                    "activations_quant_start_epoch": epochs // 4,
                    "weights_quant_start_epoch": epochs // 2,
                    "lr_poly_drop_start_epoch": epochs * 5 // 8,
                    "lr_poly_drop_duration_epochs": epochs - epochs * 5 // 8,
                },
            },
        }
        self.net = fxbin.transform(net, config)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch."""
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def on_validation_start(self) -> None:
        """Estimate BatchNorm statistics anew: they still hold batches from before the last signs flipped."""
        if self.trainer.state.fn == "fit":
            batches = (x.to(self.device) for x, _ in self.trainer.train_dataloader or ())
            fxbin.reestimate_batch_norm(self.net, islice(batches, 20))

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Log the accuracy of a batch; Lightning averages over batches."""
        x, y = batch
        self.log("accuracy", 100 * (self.net(x).argmax(1) == y).float().mean(), batch_size=len(y))

    def on_validation_end(self) -> None:
        """Print the accuracy of this epoch."""
        name = f"epoch {self.current_epoch:2}" if self.trainer.state.fn == "fit" else "best"
        percent, stage = self.trainer.callback_metrics["accuracy"], self.net.binarization.stage
        print(f"{name:8}  {stage:24} {percent:6.2f} %")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an optimizer of the parameters of the transformed network."""
        return torch.optim.Adam(fxbin.parameter_groups(self.net))


def main() -> None:
    """Train, load the best epoch of 1 bit, and export it."""
    options = read_options(
        "runs/with_lightning", pictures=5000, least=80, most=5000, resumed_from="last.ckpt"
    )

    torch.manual_seed(0)
    train_set, test_set = digits(options.pictures)
    best = FinalCheckpoint(options.output, "best", monitor="accuracy", mode="max")
    last = ModelCheckpoint(options.output, "last", enable_version_counter=False)  # of any stage, to resume
    trainer = Trainer(
        max_epochs=options.epochs,
        callbacks=[StagedBinarization(), best, last],
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train_loader = DataLoader(train_set, batch_size=64, shuffle=True, drop_last=True)
    test_loader = DataLoader(test_set, batch_size=250)
    resumed = options.output / "last.ckpt" if options.resume else None
    trainer.fit(Classifier(options.epochs), train_loader, test_loader, ckpt_path=resumed)

    classifier = Classifier.load_from_checkpoint(best.best_model_path)
    trainer.validate(classifier, test_loader, verbose=False)
    file = options.output / "model.onnx"
    print(fxbin.export_onnx(classifier.net.eval(), file))
    pictures = test_set.tensors[0][:16].split(1)
    compared = fxbin.compare_runtimes(classifier.net, file, pictures, runtimes=["onnxruntime"])
    print(compared)
    if not compared.is_right:
        raise SystemExit("the file does not compute what PyTorch computes")


if __name__ == "__main__":
    main()
