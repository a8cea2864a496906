import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fxbin.config import Config, load_config
from fxbin.errors import CheckpointError, ConfigError
from fxbin.train.best import BestCheckpoint, best_of
from fxbin.train.build import binarized_from
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.early_stop import why_stopped
from fxbin.train.history import EpochRecord
from fxbin.train.run import train
from tests.train.small_run import PARAMS, InterruptedAt, small_run

STAGES = ["full precision", "activations", "activations and weights", *["learning rate falls"] * 9]


def config_of(**keys: Any) -> Config:
    section = {"algorithm": "binarization", "params": PARAMS | {"lr_poly_drop_duration_epochs": 9}}
    return load_config({"compression": section, "epochs": 12} | keys)


def history_of(*accuracies: float) -> list[EpochRecord]:
    """One epoch of pretraining with the best accuracy of all, then staged ones."""
    first = EpochRecord("pretraining", 0, "pretraining", 1e-3, 0.0, 1.0, 99.0, 99.0, 1.0)
    return [first] + [
        replace(first, phase="staged", epoch=epoch, stage=STAGES[epoch], test_accuracy=accuracy)
        for epoch, accuracy in enumerate(accuracies)
    ]


def test_only_epochs_that_are_fully_binarized_can_be_the_best_and_the_first_of_equals_is() -> None:
    config = config_of()
    assert best_of(config, history_of(90, 80)) is None
    best = best_of(config, history_of(90, 80, 60, 65, 65, 64))
    assert best is not None
    assert best.epoch == 3


def test_the_average_may_decide() -> None:
    config = config_of(best_by="average_accuracy", ema={})
    history = [replace(r, average_accuracy=100 - r.test_accuracy) for r in history_of(90, 80, 60, 65)]
    best = best_of(config, history)
    assert best is not None
    assert best.epoch == 2
    with pytest.raises(
        ConfigError, match='best_by: got "average_accuracy", expected "test_accuracy" without'
    ):
        config_of(best_by="average_accuracy")


@pytest.mark.parametrize(
    ("accuracies", "stopped"),
    [
        ((90, 80, 60), False),
        # The epoch in "activations and weights" is better than all, but does not count.
        ((90, 80, 70, 60, 61, 62), False),
        ((90, 80, 70, 60, 60), False),
        ((90, 80, 70, 60, 60, 59), True),
        ((90, 80, 70, 60, 60.5, 61.2, 61), False),
        ((90, 80, 70, 60, 60.5, 60.8), True),
    ],
)
def test_patience_counts_epochs_of_the_last_stage(accuracies: tuple[float, ...], *, stopped: bool) -> None:
    config = config_of(early_stop={"patience": 2, "min_delta": 1.0})
    why = why_stopped(config, history_of(*accuracies))
    assert (why is not None) == stopped
    if stopped:
        assert why == "stopped early after 2 epochs that were not better than epoch 4 (60.00 %)"
    assert why_stopped(config_of(), history_of(*accuracies)) is None


def test_the_best_file_is_the_checkpoint_of_the_best_epoch_and_exports_like_it(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    trained = train(config, tmp_path / "run")
    best = best_of(trained.config, trained.history)
    assert best is not None
    kept = load_checkpoint(tmp_path / "run" / "best.pt")
    assert (kept.phase, kept.epoch) == ("staged", best.epoch)
    assert kept.epoch >= 2
    binarized_from(kept)
    # The same run without the epochs after the best one ends with the network in the file.
    shorter = train(config | {"epochs": best.epoch + 1}, tmp_path / "shorter")
    assert all(torch.equal(value, kept.model[key]) for key, value in shorter.model.state_dict().items())


@pytest.mark.parametrize("links", [True, False])
def test_the_best_file_outlives_later_checkpoints_also_where_files_have_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "checkpoint.pt"
    best = BestCheckpoint(config_of(), path)
    for count, content in ((4, "60"), (5, "65"), (6, "64")):
        temporary = tmp_path / "temporary"
        temporary.write_text(content)
        temporary.replace(path)
        best.update(history_of(90, 80, 60, 65, 64)[:count])
    assert (path.read_text(), (tmp_path / "best.pt").read_text()) == ("64", "65")
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint.pt", "best.pt"}


def test_a_best_file_that_a_crash_left_out_is_made_up_for_and_a_lost_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_text("65")
    best = BestCheckpoint(config_of(), path)
    assert best.resume(history_of(90, 80, 60, 65)) is None
    assert (tmp_path / "best.pt").read_text() == "65"
    (tmp_path / "best.pt").unlink()
    note = best.resume(history_of(90, 80, 60, 65, 64))
    assert note is not None
    assert "best.pt is missing, and with it the best epoch so far (4)" in note
    best.update(history_of(90, 80, 60, 65, 64, 63))
    assert (tmp_path / "best.pt").exists()


def test_a_run_that_is_started_over_forgets_the_best_epoch_of_the_old_one(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    train(config, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", restart=True, progress=InterruptedAt(5))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint.pt", "metrics.csv"}


def test_a_run_stops_early_says_so_and_is_finished_then(tmp_path: Path) -> None:
    config = small_run(tmp_path, epochs=30, early_stop={"patience": 2})
    progress = InterruptedAt()
    trained = train(config, tmp_path / "run", progress=progress)
    assert 5 < len(trained.history) < 31
    assert [record.stopped_early for record in trained.history] == [None] * (len(trained.history) - 1) + [
        True
    ]
    why = why_stopped(trained.config, trained.history)
    assert why in progress.notes
    saved = load_checkpoint(tmp_path / "run" / "checkpoint.pt").history
    assert saved[-1]["stopped_early"]
    assert "stopped_early" not in saved[0]
    again = InterruptedAt()
    resumed = train(config, tmp_path / "run", progress=again)
    assert again.seen == 0
    assert len(resumed.history) == len(trained.history)
    # The rule changes no number, so a run may go on without it.
    del config["early_stop"]
    longer = train(config | {"epochs": len(trained.history) + 1}, tmp_path / "run", progress=again)
    assert again.seen == 2 * 3
    assert longer.history[: len(trained.history)] == trained.history


def test_the_report_names_the_best_epoch_and_why_the_run_stopped(tmp_path: Path) -> None:
    from fxbin.train.outputs import write_outputs

    trained = train(small_run(tmp_path, epochs=30, early_stop={"patience": 1}), tmp_path / "run")
    progress = InterruptedAt()
    write_outputs(trained, tmp_path / "run", progress)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    best = best_of(trained.config, trained.history)
    assert best is not None
    assert report["best"] == {"epoch": best.epoch, "by": "test_accuracy", "test_accuracy": best.test_accuracy}
    assert "stopped early after 1 epoch that was" in report["stopped_early"]
    assert any("best.pt is the best epoch of the final stage" in note for note in progress.notes)


def test_another_rule_for_the_best_epoch_needs_a_new_run(tmp_path: Path) -> None:
    config = small_run(tmp_path, ema={"decay": 0.5}, epochs=1)
    train(config, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"best_by: the run in .* was started with 'test_accuracy'"):
        train(config | {"best_by": "average_accuracy"}, tmp_path / "run")
