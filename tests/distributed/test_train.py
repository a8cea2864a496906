"""`fxbin train` on two processes."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fxbin.errors import DataError
from fxbin.train.history import EpochRecord
from fxbin.train.progress import TrainingProgress
from fxbin.train.run import train
from tests.distributed.two_ranks import TwoRanks
from tests.pictures import write_pictures
from tests.train.small_run import small_run

MODEL = """
from torch import nn

def parts_do_not_matter(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, num_classes),
    )

def parts_matter(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3),
        nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, num_classes),
    )
"""
PARAMS = {
    "activations_quant_start_epoch": 1,
    "weights_quant_start_epoch": 2,
    "lr_poly_drop_start_epoch": 3,
    "lr_poly_drop_duration_epochs": 1,
    "disable_wd_start_epoch": 3,
    "batch_multiplier": 2,
    "base_lr": 0.01,
}


def filled(folder: Path) -> Path:
    """`folder`, with a model, and pictures in the files of Fashion-MNIST: no batch divides them evenly."""
    (folder / "net.py").write_text(MODEL)
    write_pictures(folder, train=38, held_out=11)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """See `filled`."""
    return filled(tmp_path)


def config(folder: Path, model: str) -> dict[str, Any]:
    return {
        "model": f"{folder / 'net.py'}:{model}",
        "data": "fashion-mnist",
        "data_dir": str(folder),
        "device": "cpu",
        "threads": 1,
        "epochs": 4,
        "batch_size": 11,
        "augmentation": {"shift": 1, "flip": True},
        "pretrain": {"epochs": 1},
        "distillation": {"enabled": True},
        "compression": {"algorithm": "binarization", "params": PARAMS},
    }


@dataclass
class Result:
    history: tuple[EpochRecord, ...]
    state: dict[str, Tensor]


class StoppedAt(TrainingProgress):
    """An interruption in the given batch, on every rank."""

    def __init__(self, batch: int) -> None:
        self.left = batch

    def batch_done(self, lr: float, weight_decay: float, loss: float, accuracy: float) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1


def run(settings: dict[str, Any], output: Path, stop_at: int | None = None) -> Result:
    if stop_at is not None:
        with pytest.raises(KeyboardInterrupt):
            train(settings, output, progress=StoppedAt(stop_at))
        torch.manual_seed(99)  # a new process would not have the old one's random state
    trained = train(settings, output)
    return Result(trained.history, dict(trained.model.state_dict()))


def assert_same(one: Result, other: Result) -> None:
    assert one.state.keys() == other.state.keys()
    for name, value in one.state.items():
        assert torch.equal(value, other.state[name]), name
    assert [(r.loss, r.train_accuracy, r.test_accuracy) for r in one.history] == [
        (r.loss, r.train_accuracy, r.test_accuracy) for r in other.history
    ]


def test_two_processes_train_as_one(two_ranks: TwoRanks, folder: Path) -> None:
    settings = config(folder, "parts_do_not_matter")
    one, other = two_ranks(run, settings, folder / "two")
    assert_same(one, other)
    alone = run(settings, folder / "alone")
    assert_close([r.loss for r in one.history], [r.loss for r in alone.history], rtol=0, atol=1e-4)
    assert [r.test_accuracy for r in one.history] == [r.test_accuracy for r in alone.history]


def test_an_average_features_and_the_teacher_of_the_previous_stage_are_those_of_one_process(
    two_ranks: TwoRanks, folder: Path
) -> None:
    settings = config(folder, "parts_do_not_matter") | {
        "ema": {"decay": 0.9, "batch_norm_batches": 1},
        "distillation": {"teacher": {"previous_stage": True}, "features": ["1", "3"]},
    }
    one, other = two_ranks(run, settings, folder / "two")
    assert_same(one, other)
    for resumed in two_ranks(run, settings, folder / "parts", 12):
        assert_same(resumed, one)
        assert [r.average_accuracy for r in resumed.history] == [r.average_accuracy for r in one.history]
    alone = run(settings, folder / "alone")
    for key in ("loss", "label_loss", "distillation_loss", "feature_loss"):
        assert_close(
            [getattr(r, key) for r in one.history[1:]],
            [getattr(r, key) for r in alone.history[1:]],
            rtol=0,
            atol=1e-4,
        )
    assert [r.average_accuracy for r in one.history] == [r.average_accuracy for r in alone.history]


def test_a_run_stopped_in_any_stage_and_resumed_ends_with_the_same_weights(
    two_ranks: TwoRanks, folder: Path
) -> None:
    settings = config(folder, "parts_matter")
    whole, other = two_ranks(run, settings, folder / "whole")
    assert_same(whole, other)
    for batch in (1, 5, 9, 12, 14):
        for resumed in two_ranks(run, settings, folder / f"parts{batch}", batch):
            assert_same(resumed, whole)


# The command, and after it the names of the threads that are left.
COMMAND = """
import gc, os, sys
from pathlib import Path
from fxbin.cli import main

try:
    main(["train", *sys.argv[1:]])
except SystemExit as stopped:
    assert not stopped.code
gc.collect()
names = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]
Path(f"threads{os.environ['RANK']}").write_text("".join(names))
"""


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A training by torchrun: its folder, and what became of it."""
    folder = filled(tmp_path_factory.mktemp("torchrun"))
    (folder / "config.json5").write_text(json.dumps(config(folder, "parts_matter")))
    (folder / "script.py").write_text(COMMAND)
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [*launcher, "script.py", "config.json5", "--output", "run"]
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are read from /proc")
def test_no_thread_of_the_process_group_outlives_the_training(torchrun: Any) -> None:
    """One that does may crash the process at its exit."""
    folder, done = torchrun
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        names = (folder / f"threads{rank}").read_text().split()
        assert names
        assert not [name for name in names if "gloo" in name], names


def test_torchrun_trains_and_only_rank_0_prints_and_writes(torchrun: Any) -> None:
    folder, done = torchrun
    assert done.returncode == 0, done.stderr
    assert "Grad strides" not in done.stderr
    assert done.stdout.count("full precision, before the stages") == 1
    assert {path.name for path in (folder / "run").iterdir()} >= {"checkpoint.pt", "report.json", "graph.dot"}
    report = json.loads((folder / "run" / "report.json").read_text())
    assert len(report["history"]) == 5


def refused(config: dict[str, Any], output: Path) -> str:
    with pytest.raises(DataError) as caught:
        train(config, output)
    return str(caught.value)


def test_a_batch_without_a_picture_for_each_process_is_refused_at_once(
    two_ranks: TwoRanks, tmp_path: Path
) -> None:
    told = two_ranks(refused, small_run(tmp_path, batch_size=1), tmp_path / "run")
    assert all("batch_size: 1 is too small for 2 processes" in text for text in told)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
