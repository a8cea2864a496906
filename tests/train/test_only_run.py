"""Two runs do not write to one folder at the same time."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fxbin.errors import ConfigError
from fxbin.train import only_run as module
from fxbin.train import run
from fxbin.train.checks import check_before_training
from fxbin.train.only_run import only_run
from fxbin.train.run import train
from fxbin.train.subject import Subject
from tests.train.small_run import small_run

pytest.importorskip("fcntl")

HOLDS = """
import sys
from pathlib import Path
from fxbin.train.only_run import only_run
with only_run(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_another_run_writes_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    folder = tmp_path / "run"
    with only_run(folder):
        (folder / "checkpoint.pt").write_text("of the other run")
    with only_run(folder), pytest.raises(ConfigError) as raised:
        train(small_run(tmp_path), folder, restart=True)
    assert str(raised.value) == (
        f"--output: another run is writing to {str(folder)!r} at the moment. Wait until it has ended, or "
        "choose another folder."
    )
    assert [path.read_text() for path in folder.iterdir()] == ["of the other run"]


def test_a_checkpoint_that_another_run_has_replaced_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = small_run(tmp_path), tmp_path / "run"
    train(config, tmp_path / "other")

    def slow_checks(subject: Subject) -> list[str]:
        notes = check_before_training(subject)
        shutil.copytree(tmp_path / "other", folder)
        return notes

    monkeypatch.setattr(run, "check_before_training", slow_checks)
    with pytest.raises(ConfigError, match=r"another run has changed '.*checkpoint\.pt' since this one read"):
        train(config, folder)
    assert (folder / "checkpoint.pt").read_bytes() == (tmp_path / "other" / "checkpoint.pt").read_bytes()


def test_the_lock_of_a_process_that_was_killed_is_waited_for(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        other.kill()
        with only_run(tmp_path):
            pass
    assert [*tmp_path.iterdir()] == []
