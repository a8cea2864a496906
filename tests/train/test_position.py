"""Runs that stop within an epoch and go on there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fxbin.errors import CheckpointError, DataError
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.data.stream_data import StreamBatches, StreamData
from fxbin.train.meter import Meter
from fxbin.train.position import Position
from fxbin.train.progress import TrainingProgress
from fxbin.train.run import Trained, train
from tests.shards import write_shards

MODEL = """
from torch import nn

def make(num_classes: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4),
        nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes),
    )
"""
PICTURES = 37


class StoppedAt(TrainingProgress):
    """Ctrl-C in the given batch, counted from 0 over the whole sitting."""

    def __init__(self, batch: int) -> None:
        self.left = batch
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def batch_done(self, lr: float, weight_decay: float, loss: float, accuracy: float) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "net.py").write_text(MODEL)
    return {
        "model": f"{tmp_path / 'net.py'}:make",
        "data": f"wds:{write_shards(tmp_path, 'train', (20, 5, 12))}",
        "data_held_out": write_shards(tmp_path, "val", (9,)),
        "workers": 0,
        "device": "cpu",
        "input_info": {"sample_size": [1, 3, 8, 8]},
        "batch_size": 6,
        "epochs": 3,
        "checkpoint_every": 1,
        "augmentation": {"flip": True, "mixup": 0.3},
        "pretrain": {"epochs": 1},
        "ema": {"decay": 0.5, "batch_norm_batches": 1},
        "compression": {
            "algorithm": "binarization",
            "params": {
                "activations_quant_start_epoch": 0.5,
                "weights_quant_start_epoch": 1.5,
                "activation_init_batches": 2,
                "batch_multiplier": 2,
            },
        },
    }


def figures(trained: Trained) -> list[dict[str, Any]]:
    varies = ("seconds", "images_per_second")
    return [{k: v for k, v in r.to_dict().items() if k not in varies} for r in trained.history]


def tensors(trained: Trained) -> dict[str, Tensor]:
    assert trained.average is not None
    averaged = {f"average {name}": value for name, value in trained.average.state_dict().items()}
    return averaged | trained.model.state_dict()


def test_a_run_stopped_within_any_epoch_ends_as_if_it_had_not_been(
    config: dict[str, Any], tmp_path: Path
) -> None:
    whole = train(config, tmp_path / "whole")
    notes = []
    for batch in (2, 9, 5, 9):  # since the start of each sitting: one in each epoch
        stopped = StoppedAt(batch)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "parts", progress=stopped)
        notes += [note for note in stopped.notes if note.startswith("resuming")]
        torch.manual_seed(99)  # a new process would not have the old one's random state
    last = StoppedAt(99)
    resumed = train(config, tmp_path / "parts", progress=last)
    where = [note.partition("checkpoint.pt ")[2].partition(" (")[0] for note in [*notes, last.notes[0]]]
    assert where == [
        "in pretraining epoch 1, after 2 batches",
        "in staged epoch 1, after 4 batches",
        "in staged epoch 2, after 2 batches",
        "in staged epoch 3, after 4 batches",
    ]
    assert figures(resumed) == figures(whole)
    expected = tensors(whole)
    assert all(torch.equal(value, expected[name]) for name, value in tensors(resumed).items())
    assert load_checkpoint(tmp_path / "parts" / "checkpoint.pt").position is None


def test_an_evaluation_that_fails_does_not_cost_its_epoch(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del config["checkpoint_every"]
    whole = train(config, tmp_path / "whole")
    held_out, left = StreamData.held_out, [0]

    def failing(self: StreamData, rank: int = 0, ranks: int = 1) -> Iterator[Any]:
        if not left[0]:
            raise DataError("data: a picture cannot be read")
        left[0] -= 1
        return held_out(self, rank, ranks)

    monkeypatch.setattr(StreamData, "held_out", failing)
    for evaluations, where in ((0, "no run yet"), (1, "in pretraining epoch 1, after 6 batches")):
        left[0], stopped = evaluations, StoppedAt(99)
        with pytest.raises(DataError, match="cannot be read") as caught:
            train(config, tmp_path / "parts", progress=stopped)
        assert caught.value.__notes__ == [
            "The epoch before this evaluation is kept: the same command goes on with the evaluation."
        ]
        assert evaluations == 0 or where in stopped.notes[0]
    left[0], last = 99, StoppedAt(99)
    resumed = train(config, tmp_path / "parts", progress=last)
    assert "in staged epoch 1, after 6 batches" in last.notes[0]
    assert last.left == 99 - 2 * 6  # the batches of the last two epochs alone
    assert figures(resumed) == figures(whole)
    expected = tensors(whole)
    assert all(torch.equal(value, expected[name]) for name, value in tensors(resumed).items())


def test_the_meters_of_all_processes_of_a_place_are_joined() -> None:
    meters = [Meter(), Meter(), Meter()]
    for meter, loss in zip(meters[:2], (1.0, 2.5), strict=True):
        meter.add(torch.tensor(loss), torch.eye(2), torch.tensor([0, 0]), {"label": torch.tensor(loss)})
    kept = [{"meter": vars(meter), "diagnostics": None} for meter in meters]
    found = Position(6, [], "all", 1.0, kept).meter_of_all()
    assert (found.images, found.loss, found.accuracy, found.parts) == (4, 1.75, 50.0, {"label": 1.75})


def test_a_streamed_epoch_that_was_stopped_and_resumed_has_every_picture_once(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, list[int]]] = []
    epoch = StreamBatches.epoch

    def noted(self: StreamBatches, number: int, start: int = 0) -> Iterator[Any]:
        for position, batch in enumerate(epoch(self, number, start), start):
            pixels = self.data.preprocessing
            red = batch[0][:, 0, 0, 0] * pixels.std[0] + pixels.mean[0]
            seen.append((self.seed, position, (red * 255).round().int().tolist()))
            yield batch

    monkeypatch.setattr(StreamBatches, "epoch", noted)
    del config["ema"]
    config |= {"augmentation": {}, "epochs": 1}
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", progress=StoppedAt(3))
    trained = train(config, tmp_path / "run")
    assert len(trained.history) == 2
    done = {}
    for seed, position, pictures in seen:  # of a batch that was stopped, the second time counts
        done[seed, position] = pictures
    for seed in (0, 1):
        pictures = [picture for (own, _), part in done.items() if own == seed for picture in part]
        assert sorted(pictures) == list(range(PICTURES))
    assert [position for seed, position, _ in seen if seed == 0] == [0, 1, 2, 3, 3, 4, 5]


@pytest.mark.parametrize(
    ("shards", "difference"),
    [
        ((20, 9, 12), "5 training pictures in shard 2 of 3, now there are 9"),
        ((20, 5, 12, 6), "3 shards of training pictures, now there are 4"),
    ],
)
def test_an_epoch_does_not_go_on_with_other_shards(
    config: dict[str, Any], tmp_path: Path, shards: tuple[int, ...], difference: str
) -> None:
    config["data"] = f"wds:{tmp_path}/train-*.tar"
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", progress=StoppedAt(2))
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    write_shards(tmp_path, "train", shards)
    with pytest.raises(CheckpointError) as caught:
        train(config, tmp_path / "run")
    assert f"middle of an epoch of {difference}, so" in str(caught.value)
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before
    write_shards(tmp_path, "train", (20, 5, 12))
    (tmp_path / "train-3.tar").unlink(missing_ok=True)
    assert len(train(config, tmp_path / "run").history) == 4
