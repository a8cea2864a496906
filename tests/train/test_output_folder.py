import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fxbin.errors import CheckpointError, ConfigError
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.output_folder import check_room, check_writable, explained
from fxbin.train.progress import TrainingProgress
from fxbin.train.run import train
from tests.train.small_run import InterruptedAt, small_run


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    progress = InterruptedAt()
    with pytest.raises(ConfigError, match=r"--output: .*run' cannot be written: .*net\.py is not a folder"):
        train(small_run(tmp_path), tmp_path / "net.py" / "run", progress=progress)
    assert progress.seen == 0


def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    is_root = os.geteuid() == 0
    if is_root:  # whom permissions do not stop
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError, match=r"--output: .* cannot be written: .*no permission to write"):
            check_writable(locked / "run")
    finally:
        if is_root:
            os.seteuid(0)
    assert list(locked.iterdir()) == []


def test_a_folder_that_can_be_made_is_not_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "run")
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("options", ["size=16k", "ro"])
def test_a_full_or_read_only_file_system_is_refused(tmp_path: Path, options: str) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        if options != "ro":
            with pytest.raises(OSError, match="No space left"):
                (tmp_path / "filled").write_bytes(bytes(1 << 20))
        reason = "its file system is read-only" if options == "ro" else "no space is left on the device"
        with pytest.raises(
            ConfigError, match=rf"'{tmp_path}/run' cannot be written: in {tmp_path}, {reason}"
        ):
            check_writable(tmp_path / "run")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_disk_without_room_for_a_checkpoint_is_found_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=100))
    progress = InterruptedAt()
    with pytest.raises(ConfigError, match=r"--output: .*run' has 100 B left, and one checkpoint of this run"):
        train(small_run(tmp_path), tmp_path / "run", progress=progress)
    assert progress.seen == 0
    check_room(tmp_path / "run", 100)


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


def test_files_of_an_earlier_training_are_kept_and_named(tmp_path: Path) -> None:
    config, folder = small_run(tmp_path), tmp_path / "run"
    train(config, folder)
    for name in ("report.json", "model.onnx"):
        (folder / name).write_text("old")
    note = "note: until the end, these are of an earlier training: report.json, model.onnx"
    finished, again = InterruptedAt(), InterruptedAt(0)
    train(config, folder, progress=finished)
    assert note not in finished.notes
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, restart=True, progress=again)
    assert note in again.notes
    assert (folder / "report.json").read_text() == "old"
