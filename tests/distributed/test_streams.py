"""Streams on two processes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxbin import load_config
from fxbin.binarizers.ranks import rank_count
from fxbin.train.data import open_data
from fxbin.train.data.interface import TrainingBatches
from fxbin.train.evaluation import accuracy_over_ranks
from fxbin.train.processes import own_rank
from tests.distributed.test_train import assert_same, run
from tests.distributed.two_ranks import TwoRanks
from tests.shards import write_shards

MODEL = """
from torch import nn

def make(num_classes: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(4, 4, 3),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""
COUNTS = (15, 4, 18)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "net.py").write_text(MODEL)
    return {
        "model": f"{tmp_path / 'net.py'}:make",
        "data": f"wds:{write_shards(tmp_path, 'train', COUNTS)}",
        "data_held_out": write_shards(tmp_path, "val", (9, 14)),
        "workers": 0,
        "device": "cpu",
        "threads": 1,
        "input_info": {"sample_size": [1, 3, 8, 8]},
        "pictures": {"normalize": "none"},
        "batch_size": 6,
        "epochs": 2,
        "checkpoint_every": 1,
        "pretrain": {"epochs": 1},
        "compression": {
            "algorithm": "binarization",
            "params": {"activations_quant_start_epoch": 0, "weights_quant_start_epoch": 1},
        },
    }


def evaluated(settings: dict[str, Any]) -> float:
    """The accuracy of one network on all processes."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(nn.Conv2d(3, 3, 8), nn.BatchNorm2d(3), nn.Flatten())
    return accuracy_over_ranks(network, open_data(load_config(settings)))


def pictures(settings: dict[str, Any], start: int, division: list[int]) -> list[list[int]]:
    """Which pictures this process gets in each batch from `start` on, of an epoch divided by `division`."""
    config = load_config(settings)
    batches: TrainingBatches = open_data(config).training(config, 0, own_rank(), rank_count())
    parts = (batches.divided(division) if division else batches).epoch(0, start)
    return [(x[:, 0, 0, 0] * 255).round().int().tolist() for x, _ in parts]


def test_two_processes_and_one_evaluate_the_same_to_the_picture(
    two_ranks: TwoRanks, settings: dict[str, Any]
) -> None:
    one, other = two_ranks(evaluated, settings)
    assert one == other == evaluated(settings)
    assert 0 < one < 100


def test_two_processes_share_a_stream_which_one_can_go_on_with(
    two_ranks: TwoRanks, settings: dict[str, Any]
) -> None:
    one, other = two_ranks(pictures, settings, 0, [])
    batches = [mine + its for mine, its in zip(one, other, strict=True)]
    assert sorted(picture for batch in batches for picture in batch) == list(range(sum(COUNTS)))
    assert pictures(settings, 2, [2, 16]) == batches[2:]


def test_a_run_stopped_within_an_epoch_ends_with_the_same_weights(
    two_ranks: TwoRanks, settings: dict[str, Any], tmp_path: Path
) -> None:
    whole, other = two_ranks(run, settings, tmp_path / "whole")
    assert_same(whole, other)
    for resumed in two_ranks(run, settings, tmp_path / "parts", 9):
        assert_same(resumed, whole)
