"""A LightningModule with a transformed network, and what a Trainer for tests looks like."""

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tests.distributed.training import network

BATCHES = 6


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = network()
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.validated_in: list[str] = []
        self.trained_in: list[str] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.losses.append(loss.item())
        self.trained_in.append(str(self.net.binarization.stage))
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def validation_step(self, _batch: tuple[Tensor, Tensor], _index: int) -> None:
        self.validated_in.append(str(self.net.binarization.stage))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        others = [p for name, p in self.net.named_parameters() if "binarizer" not in name]
        learned: dict[str, Any] = {
            "params": self.net.binarization.parameters(),
            "lr": 2e-2,
            "weight_decay": 0.0,
        }
        groups: list[dict[str, Any]] = [{"params": others}, learned]
        return torch.optim.Adam(groups, lr=1e-2, weight_decay=1e-4)


def loader(batch_size: int = 4) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCHES * 4, 3, 8, 8, generator=generator)
    return DataLoader(TensorDataset(x, torch.arange(len(x)) % 5), batch_size=batch_size)


def trainer(callback: Any, *more: Any, **options: Any) -> Trainer:
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 4,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(callbacks=[callback, *more], **(settings | options))
