"""A run of `fxbin train` that takes well under a second: a small network, few pictures, every stage."""

from pathlib import Path
from typing import Any

from fxbin.train.progress import TrainingProgress
from tests.pictures import write_pictures

# Dropout, so that random numbers drawn while training matter; batch norm, so that buffers do.
MODEL = """
from torch import nn

def make(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Dropout(0.3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes),
    )
"""
PARAMS = {
    "activations_quant_start_epoch": 1,
    "weights_quant_start_epoch": 2,
    "lr_poly_drop_start_epoch": 3,
    "lr_poly_drop_duration_epochs": 2,
    "disable_wd_start_epoch": 3,
    "batch_multiplier": 2,
    "base_lr": 0.01,
}
BATCHES = 3
"""In an epoch."""


def small_run(folder: Path, **keys: Any) -> dict[str, Any]:
    """A config of 1 + 5 epochs, whose model and data are in `folder`; `keys` are further ones."""
    if not (folder / "net.py").exists():
        write_pictures(folder, train=40, held_out=10)
        (folder / "net.py").write_text(MODEL)
    return {
        "model": f"{folder / 'net.py'}:make",
        "data": "fashion-mnist",
        "data_dir": str(folder),
        "device": "cpu",
        "threads": 1,
        "epochs": 5,
        "batch_size": 16,
        "pretrain": {"epochs": 1},
        "compression": {"algorithm": "binarization", "params": PARAMS},
    } | keys


class InterruptedAt(TrainingProgress):
    """Ctrl-C in the given batch, counted from 0 over the whole sitting; None never."""

    def __init__(self, batch: int | None = None) -> None:
        self.batch = batch
        self.seen = 0
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def batch_done(self, lr: float, weight_decay: float, loss: float, accuracy: float) -> None:
        self.seen += 1
        if self.batch is not None and self.seen > self.batch:
            raise KeyboardInterrupt
