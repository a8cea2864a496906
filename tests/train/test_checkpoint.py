from pathlib import Path
from typing import Any

import pytest
import torch

from fxbin.errors import CheckpointError
from fxbin.train.checkpoint import Checkpoint, load_checkpoint, restore_rng, rng_state, save_checkpoint


def checkpoint(**changes: Any) -> Checkpoint:
    content: dict[str, Any] = {
        "config": {"seed": 0, "compression": [{"algorithm": "binarization"}]},
        "phase": "staged",
        "epoch": 3,
        "model": {"w": torch.arange(3.0)},
        "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"lr": 0.1}]},
        "schedule": {},
        "teacher": None,
        "rng": rng_state(),
        "history": [{"epoch": 0, "loss": 0.5}],
    }
    return Checkpoint(**(content | changes))


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "checkpoint.pt"
    saved = checkpoint()
    save_checkpoint(saved, path)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded.model["w"], saved.model["w"])
    assert loaded.optimizer["state"][0]["step"] == 2
    assert (loaded.phase, loaded.epoch, loaded.config) == (saved.phase, saved.epoch, saved.config)
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(checkpoint(epoch=1), path)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save_checkpoint(checkpoint(epoch=2, schedule={"cannot be pickled": lambda: 0}), path)
    assert load_checkpoint(path).epoch == 1
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    save_checkpoint(checkpoint(), tmp_path / "checkpoint.pt")
    expected = torch.rand(4)
    restore_rng(load_checkpoint(tmp_path / "checkpoint.pt").rng)
    assert torch.equal(torch.rand(4), expected)


def test_a_missing_file_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not exist. `fxbin train CONFIG` writes one"):
        load_checkpoint(tmp_path / "checkpoint.pt")


# The last three fail inside the parser, with an IndexError, a KeyError and a struct.error.
@pytest.mark.parametrize("content", [None, b"\x80\x02.", b"hello", b"\x80\x02X\x01"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(checkpoint(), path)
    path.write_bytes(path.read_bytes()[:100] if content is None else content)
    with pytest.raises(CheckpointError, match=r"(?s)cannot be read: .*Was it written by `fxbin train`"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.9])
def test_a_truncated_file_is_told_in_one_sentence(tmp_path: Path, share: float) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(checkpoint(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = r"^checkpoint \S+ cannot be read: [^.]+\. Was it written by `fxbin train`\?$"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_a_state_dict_is_not_taken_for_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(
        CheckpointError,
        match=r"was not written by `fxbin train` in format 1: it holds w. For a state_dict",
    ):
        load_checkpoint(tmp_path / "weights.pt")
