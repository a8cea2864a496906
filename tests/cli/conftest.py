"""Fixtures of the tests of commands."""

from pathlib import Path

import pytest
import torch

from fxbin.config import Config
from fxbin.train import outputs, subject
from fxbin.train.data import Data, ImageData, open_data
from fxbin.train.data.included import LOADERS
from tests.cli.commands import write


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    x, y = torch.randn(50, 1, 12, 12), torch.arange(50) % 10
    images = ImageData("mnist", x[:40], y[:40], x[40:], y[40:], classes=10)

    def load(config: Config) -> Data:
        return images if config.data in LOADERS else open_data(config)

    monkeypatch.setattr(subject, "open_data", load)
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "tiny.json5")


@pytest.fixture
def no_files_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training writes its checkpoint and its report alone. The rest takes longer than the training."""
    for name in ("write_onnx", "write_graph", "write_curves"):
        monkeypatch.setattr(outputs, name, lambda *_: None)
