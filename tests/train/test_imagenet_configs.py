"""The shipped configs for ImageNet, as docs/training.md uses them, on a folder with its layout."""

from pathlib import Path

import pytest
import torch

from fxbin.train import outputs
from fxbin.train.checkpoint import load_checkpoint
from tests.folders import write_folder
from tests.train.page import DOCS, STAGES, commands, run, sections, shortened

CHECK, TRAIN = commands(sections("training.md")["ImageNet"])


@pytest.fixture
def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders like ImageNet's, and a file where torchvision keeps the weights that it has downloaded."""
    models = pytest.importorskip("torchvision.models")
    write_folder(tmp_path / "train", classes=2, pictures=2, size=(40, 30))
    write_folder(tmp_path / "val", classes=2, pictures=1, size=(40, 30))
    weights = tmp_path / "hub" / "checkpoints" / models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    weights.parent.mkdir(parents=True)
    torch.save(models.resnet18().state_dict(), weights)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(DOCS.parent)
    # What else a run writes takes longer than this training.
    for name in ("write_onnx", "write_graph", "write_curves"):
        monkeypatch.setattr(outputs, name, lambda *_: None)
    return tmp_path


@pytest.mark.parametrize("name", ["xnor", "dorefa"])
def test_a_shipped_config_trains_on_a_folder_with_the_layout_of_imagenet(
    imagenet: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check, train = (
        [part.replace("xnor", name).replace("/data/imagenet", str(imagenet)) for part in command]
        for command in (CHECK, TRAIN)
    )
    assert run(check, capsys).startswith("note: 16 of 20 conv2d are binarized")
    # Only the number of epochs is another one, and no epoch in full precision precedes trained weights.
    keys = [key for key in shortened([]) if "epoch" in key and not key.startswith("pretrain")]
    short = [part for key in keys for part in ("--set", key)]
    run(
        [*train, *short, "--set", "device=cpu", "--set", "workers=0", "--output", str(imagenet / "run")],
        capsys,
    )
    checkpoint = load_checkpoint(imagenet / "run" / "checkpoint.pt")
    assert [record["stage"] for record in checkpoint.history] == STAGES[1:]
    assert checkpoint.model["fc.weight"].shape == (1000, 512)
