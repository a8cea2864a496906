import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from fxbin.errors import CheckpointError, ConfigError
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.output_folder import check_output, explained
from fxbin.train.progress import TrainingProgress
from fxbin.train.run import train
from tests.train.small_run import InterruptedAt, small_run


def test_a_folder_is_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    for folder, why in ((tmp_path / "run", "File exists"), (tmp_path / "run" / "one", "Not a directory")):
        with pytest.raises(ConfigError, match=rf"--output: .* cannot be written to \({why}\)\. Name another"):
            check_output(folder)


def test_a_folder_without_permission_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    is_root = os.geteuid() == 0
    progress = InterruptedAt()
    if is_root:  # whom permissions do not stop
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError, match=r"--output: .*run cannot be written to \(Permission denied\)"):
            train(config, locked / "run", progress=progress)
    finally:
        if is_root:
            os.seteuid(0)
    assert progress.seen == 0
    assert list(locked.iterdir()) == []


def test_a_folder_without_room_for_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--output: .* has [\d.]+ MiB left, .* needs 1099511627776\.0 MiB"):
        check_output(tmp_path, 2**60)


class LimitedFrom(TrainingProgress):
    """No file may grow above a few bytes from the given epoch on, as on a full disk."""

    def __init__(self, epoch: int) -> None:
        self.left = epoch
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch_started(self, stage: str, epoch: int, epochs: int, batches: int) -> None:
        if self.left == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        self.left -= 1


@pytest.fixture
def limits() -> Any:
    """Writing above the limit is an error, as on a full disk; the limit is lifted after."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("limits")
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before_and_the_run_goes_on_later(
    tmp_path: Path,
) -> None:
    config = small_run(tmp_path)
    whole = train(config, tmp_path / "whole")
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(
        CheckpointError,
        match=r"checkpoint\.pt cannot be written \(File too large\)\. The last checkpoint is kept\. Make",
    ):
        train(config, tmp_path / "run", progress=LimitedFrom(4))
    resource.setrlimit(resource.RLIMIT_FSIZE, hard)
    kept = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert (kept.phase, kept.epoch) == ("staged", 2)
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.endswith(".tmp")]
    resumed = train(config, tmp_path / "run")
    assert [r.loss for r in resumed.history] == [r.loss for r in whole.history]


def test_an_error_that_is_not_of_writing_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), explained(tmp_path, ""):
        raise RuntimeError("shapes do not fit")
