"""Runs on pictures of one's own through all stages: stopped within an epoch, resumed, exported and verified.

The tutorial's runs, with ResNet18 and timm's MobileNetV3, are in tests/train/test_training_docs.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from fxbin.cli import main
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.data.kept import kept_in_file
from fxbin.train.progress import ConsoleProgress
from tests.folders import write_folder

OWN = """
from pathlib import Path

import torch
from PIL import Image
from torch import nn


class Files(torch.utils.data.Dataset):
    def __init__(self, root):
        self.files = sorted(Path(root).glob("*/*.png"))
        self.classes = sorted({file.parent.name for file in self.files})

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        file = self.files[index]
        return Image.open(file), self.classes.index(file.parent.name)


def pictures(data_dir):
    return Files(Path(data_dir) / "train"), Files(Path(data_dir) / "val")


def network(num_classes):
    def layer(channels, filters):
        return nn.Sequential(nn.Conv2d(channels, filters, 3, 2, 1), nn.BatchNorm2d(filters), nn.ReLU())

    layers = layer(3, 8), layer(8, 16), layer(16, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(16, num_classes))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folder(tmp_path / "train", pictures=6, size=(40, 36))
    write_folder(tmp_path / "val", pictures=2, size=(40, 36), seed=1)
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["folder", "function"])
def test_a_run_is_stopped_resumed_exported_and_verified(
    root: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    config: dict[str, Any] = {
        "model": "own.py:network",
        "data": "folder:." if kind == "folder" else "own.py:pictures",
        "data_dir": str(root),
        "input_info": {"sample_size": [1, 3, 32, 32]},
        "device": "cpu",
        "threads": 1,
        "workers": 1,
        "batch_size": 9,
        "epochs": 3,
        "checkpoint_every": 1,
        "augmentation": {"crop": 0.5, "flip": True},
        "pretrain": {"epochs": 1},
        "compression": {
            "algorithm": "binarization",
            "params": {
                "activations_quant_start_epoch": 1,
                "weights_quant_start_epoch": 2,
                "activation_scale_init": "mse",
            },
        },
    }
    (root / "config.json").write_text(json.dumps(config))
    command = ("train", str(root / "config.json"), "--output", str(root / "run"))
    with monkeypatch.context() as patch:
        batch_done, seen = ConsoleProgress.batch_done, []

        def interrupted(self: ConsoleProgress, *numbers: float) -> None:
            seen.append(numbers)
            if len(seen) == 6:
                raise KeyboardInterrupt
            batch_done(self, *numbers)

        patch.setattr(ConsoleProgress, "batch_done", interrupted)
        assert exit_code(*command) == 130
    assert load_checkpoint(root / "run" / "checkpoint.pt").position is not None
    assert exit_code(*command, "--resume") == 0
    report = json.loads((root / "run" / "report.json").read_text())
    assert report["images"] == {"train": 18, "held_out": 6}
    assert report["onnx"]["differing_predictions"] == 0
    kept = kept_in_file(root / "run" / "model.onnx")
    assert kept is not None
    assert kept["classes"] == ["class_0", "class_1", "class_2"]
    assert exit_code("export", str(root / "run" / "checkpoint.pt"), str(root / "again.onnx")) == 0
    assert kept_in_file(root / "again.onnx") == kept
