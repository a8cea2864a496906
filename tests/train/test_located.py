"""Paths in a config are relative to its file."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fxbin import load_config
from fxbin.config import Config
from fxbin.errors import ConfigError
from fxbin.train import subject
from fxbin.train.build import binarized_from
from fxbin.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fxbin.train.data import ImageData
from fxbin.train.located import located
from fxbin.train.run import train

MODEL = """
from torch import nn

def make(num_classes=10):
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, num_classes, 6), nn.Flatten())
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config and a model file; the current folder is another one."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 1, 8, 8, generator=generator), torch.arange(8) % 2
    images = ImageData("mnist", x, y, x, y, classes=2)
    monkeypatch.setattr(subject, "open_data", lambda _config: images)
    folder = tmp_path / "project"
    (folder / "nets").mkdir(parents=True)
    (folder / "nets" / "own.py").write_text(MODEL)
    write(folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def write(folder: Path, **keys: Any) -> Config:
    params = {"activations_quant_start_epoch": 0, "weights_quant_start_epoch": 0}
    content = {
        "model": "nets/own.py:make",
        "epochs": 1,
        "pretrain": {"epochs": 0},
        "compression": {"algorithm": "binarization", "params": params},
    }
    path = folder / "config.json5"
    path.write_text(json.dumps(content | keys))
    return load_config(path)


def test_each_path_is_looked_up_beside_the_config(project: Path) -> None:
    (project / "pictures").mkdir()
    config = write(
        project,
        data="folder:pictures",
        data_dir="pictures",
        data_held_out="held_out",
        distillation={"teacher": {"model": "nets/own.py:make", "state_dict": "teacher.pt"}},
    )
    found = located(config)
    assert found.notes == ()
    assert found.config.model == f"{project}/nets/own.py:make"
    assert found.config.data == f"folder:{project}/pictures"
    assert found.config.data_dir == f"{project}/pictures"
    assert found.config.data_held_out == f"{project}/held_out"
    assert found.config.distillation.teacher is not None
    assert found.config.distillation.teacher.model == f"{project}/nets/own.py:make"
    assert found.config.distillation.teacher.state_dict == f"{project}/teacher.pt"  # is missing, and named so
    assert located(found.config) == found
    assert (
        located(load_config(config.to_dict())).config == config
    )  # of no file: relative to the current folder


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("mnist", "mnist"),
        ("hf:beans", "hf:beans"),
        ("idx:pictures", "idx:{}/pictures"),
        ("hf:pictures", "hf:{}/pictures"),
        ("wds:pictures/train-{0..3}.tar", "wds:{}/pictures/train-{{0..3}}.tar"),
        ("wds:https://host/train-{0..3}.tar", "wds:https://host/train-{{0..3}}.tar"),
        ("wds:pipe:cat pictures/a.tar", "wds:pipe:cat pictures/a.tar"),
        ("nets/own.py:make", "{}/nets/own.py:make"),
        ("folder:/somewhere", "folder:/somewhere"),
        ("folder:~/somewhere", "folder:~/somewhere"),
    ],
)
def test_each_form_of_data_is_known(project: Path, data: str, expected: str) -> None:
    (project / "pictures").mkdir()
    found = located(write(project, data=data))
    assert found.config.data == expected.format(project)
    assert found.notes == ()


def test_a_path_from_the_current_folder_works_and_is_noted(project: Path) -> None:
    config = write(project, model="here/own.py:make")
    with pytest.raises(
        ConfigError, match=r"the file here/own.py does not exist: looked in .*project, .*where"
    ):
        located(config)
    shutil.copytree(project / "nets", "here")
    found = located(config)
    assert found.config.model == f"{Path.cwd()}/here/own.py:make"
    (note,) = found.notes
    assert note.startswith(
        f"model: here/own.py is not in {project}, the folder of the config, but in {Path.cwd()}"
    )


def test_a_checkpoint_is_used_from_any_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train(project / "config.json5", tmp_path / "run")
    file = tmp_path / "run" / "checkpoint.pt"
    assert load_checkpoint(file).config["model"] == "nets/own.py:make"  # as written: a project may be moved
    monkeypatch.chdir("/")
    weights = binarized_from(load_checkpoint(file), file=file).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in trained.model.state_dict().items())
    train(project / "config.json5", tmp_path / "run")  # is not refused
    moved = tmp_path / "moved"
    project.rename(moved)
    with pytest.raises(ConfigError) as caught:
        binarized_from(load_checkpoint(file), file=file)
    assert f"looked in {project}, /, {tmp_path / 'run'}" in str(caught.value)
    monkeypatch.chdir(moved)
    binarized_from(load_checkpoint(file), file=file)


def test_an_older_checkpoint_finds_its_model_here_or_beside_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(project / "config.json5", tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    checkpoint.config_folder = None
    old = tmp_path / "old.pt"
    save_checkpoint(Checkpoint(**vars(checkpoint)), old)
    assert "config_folder" not in torch.load(old)
    with pytest.raises(ConfigError, match=r"nets/own\.py does not exist: looked in"):
        binarized_from(load_checkpoint(old), file=old)
    binarized_from(load_checkpoint(old), file=old.rename(project / "old.pt"))
    monkeypatch.chdir(project)
    binarized_from(load_checkpoint(project / "old.pt"))
