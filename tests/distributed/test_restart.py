"""A process that dies, and `torchrun --max-restarts`, which starts all of them again."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.run import train
from tests.distributed.two_ranks import TwoRanks
from tests.train.small_run import small_run

# Rank 1 kills itself once, in the fourth epoch of the stages. `restart` is meant for the first start only.
SCRIPT = """
import os, signal
from pathlib import Path
from fxbin.train.progress import TrainingProgress
from fxbin.train.run import train

class Killed(TrainingProgress):
    def note(self, text):
        if os.environ["RANK"] == "0":
            print(text)

    def epoch_started(self, stage, epoch, epochs, batches):
        if os.environ["RANK"] == "1" and epoch == 3 and not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)

train("config.json", Path("run"), restart=True, progress=Killed())
"""


def run(config: Path, output: Path) -> None:
    train(config, output)


def test_a_run_whose_process_died_goes_on_from_its_checkpoint_and_ends_like_one_that_was_not(
    two_ranks: TwoRanks, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(small_run(tmp_path)))
    (tmp_path / "script.py").write_text(SCRIPT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    died = subprocess.run(
        [*launcher, "--max-restarts", "1", "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert died.returncode == 0, died.stderr
    assert (tmp_path / "killed").exists()
    assert "resuming run/checkpoint.pt after staged epoch 3" in died.stdout
    two_ranks(run, tmp_path / "config.json", tmp_path / "whole")
    one, other = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("run", "whole"))
    assert all(torch.equal(value, other.model[name]) for name, value in one.model.items())
    assert [r["loss"] for r in one.history] == [r["loss"] for r in other.history]
