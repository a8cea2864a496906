"""`fxbin train` with parameters divided among two processes (FSDP2)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fxbin.config import load_config
from fxbin.errors import ConfigError
from fxbin.train.build import binarized_from
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.run import train
from tests.distributed.two_ranks import TwoRanks
from tests.train.small_run import BATCHES, InterruptedAt, small_run

Result = tuple[list[tuple[float, float]], dict[str, Tensor]]


def run(config: dict[str, Any], output: Path, stop_at: tuple[int, ...] = ()) -> Result:
    for batch in stop_at:
        with pytest.raises(KeyboardInterrupt):
            train(config, output, progress=InterruptedAt(batch))
        torch.manual_seed(99)  # a new process would not have the old one's random state
    trained = train(config, output)
    return [(r.loss, r.test_accuracy) for r in trained.history], dict(trained.model.state_dict())


def test_a_sharded_run_gives_the_numbers_of_ddp_and_its_checkpoint_is_whole(
    two_ranks: TwoRanks, tmp_path: Path
) -> None:
    config = small_run(tmp_path, parallel="fsdp", gradient_clip={"norm": 0.5})
    (history, state), (_, other) = two_ranks(run, config, tmp_path / "fsdp")
    assert all(torch.equal(value, other[name]) for name, value in state.items())
    (expected, whole), _ = two_ranks(run, config | {"parallel": "ddp"}, tmp_path / "ddp")
    assert [loss for loss, _ in history] == pytest.approx([loss for loss, _ in expected], rel=1e-3)
    assert state.keys() == whole.keys()
    kept = load_checkpoint(tmp_path / "fsdp" / "checkpoint.pt")
    usual = load_checkpoint(tmp_path / "ddp" / "checkpoint.pt")
    shapes = [
        {index: {n: v.shape for n, v in moments.items()} for index, moments in c.optimizer["state"].items()}
        for c in (kept, usual)
    ]
    assert shapes[0] == shapes[1]
    model = binarized_from(kept)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    # Stopped while pretraining and in the stages.
    (again, resumed), _ = two_ranks(run, config, tmp_path / "parts", (BATCHES + 1, 2 * BATCHES))
    assert again == history
    assert all(torch.equal(value, state[name]) for name, value in resumed.items())


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"ema": {}}, "ema"),
        ({"compile": True}, "compile"),
        ({"precision": "float16"}, 'precision "float16"'),
        ({"distillation": {"teacher": {"previous_stage": True}}}, "distillation.teacher.previous_stage"),
    ],
)
def test_what_needs_the_whole_model_in_each_process_is_refused(keys: dict[str, Any], named: str) -> None:
    config = {"compression": {"algorithm": "binarization"}, "parallel": "fsdp"}
    with pytest.raises(ConfigError) as caught:
        load_config(config | keys)
    assert f'parallel: got "fsdp", expected "ddp" beside {named}. Leave out {named}' in str(caught.value)
