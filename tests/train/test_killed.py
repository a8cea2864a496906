"""Runs of `fxbin train` that are killed, each in a process of its own."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from fxbin.train.checkpoint import Checkpoint, load_checkpoint
from tests.pictures import write_pictures

SEED = int(os.environ.get("FXBIN_KILL_SEED", random.SystemRandom().randrange(2**31)))
"""Of the steps to be killed in. A failure names it: set the variable to repeat it."""

BATCHES = 3
"""In an epoch."""

MODEL = """
from torch import nn

def make(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Dropout(0.3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes),
    )
"""
CONFIG: dict[str, Any] = {
    "data": "fashion-mnist",
    "device": "cpu",
    "threads": 1,
    "epochs": 5,
    "batch_size": 16,
    "augmentation": {"shift": 1, "flip": True},
    "pretrain": {"epochs": 2},
    "compression": {
        "algorithm": "binarization",
        "params": {
            "activations_quant_start_epoch": 1,
            "weights_quant_start_epoch": 2,
            "lr_poly_drop_start_epoch": 3,
            "lr_poly_drop_duration_epochs": 2,
            "disable_wd_start_epoch": 3,
            "batch_multiplier": 2,
            "batch_norm_batches": 2,
            "activation_init_batches": 2,
            "base_lr": 0.01,
        },
    },
}
PHASES = {
    "pretraining": (0, 2),
    "full precision": (2, 3),
    "activations": (3, 4),
    "both": (4, 5),
    "drop": (5, 7),
}
"""First epoch and the one after the last, counted over both phases."""

# Python and torch start once; each run is then a fork that has trained nothing yet.
RUNS = """
import json, os, signal, sys
from fxbin import cli
from fxbin.train import outputs
from fxbin.train.progress import ConsoleProgress

def run(arguments, kill_in):
    seen = 0
    show = ConsoleProgress.batch_done

    def batch_done(*numbers):
        nonlocal seen
        if seen == kill_in:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1
        show(*numbers)

    ConsoleProgress.batch_done = batch_done
    # The files at the end are tested elsewhere, and take longer than the training.
    for name in ("write_onnx", "write_graph", "write_curves"):
        setattr(outputs, name, lambda *_: None)
    cli.main(["train", *arguments])

for arguments, kill_in in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        run(arguments, kill_in)
        sys.stdout.flush()
        os._exit(0)
    print("ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_run_killed_in_every_stage_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    steps = random.Random(SEED)
    write_pictures(tmp_path, train=40, held_out=10)
    (tmp_path / "net.py").write_text(MODEL)
    settings = CONFIG | {"model": f"{tmp_path / 'net.py'}:make", "data_dir": str(tmp_path)}
    (tmp_path / "config.json").write_text(json.dumps(settings))

    def command(output: str, *options: str) -> list[str]:
        return [str(tmp_path / "config.json"), "--output", str(tmp_path / output), *options]

    runs: list[tuple[list[str], int | None]] = [(command("whole"), None)]
    finished = 0
    for begin, end in PHASES.values():
        batch = steps.randrange(begin * BATCHES, end * BATCHES)
        resume = ["--resume"] if finished else []
        runs.append((command("parts", *resume), batch - finished * BATCHES))
        finished = batch // BATCHES
    runs.append((command("parts", "--resume"), None))
    where = f"FXBIN_KILL_SEED={SEED}, killed in batches {[batch for _, batch in runs]}"
    done = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps(runs)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    ends = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("ended with")]
    assert ends == ["0", *[str(-signal.SIGKILL)] * len(PHASES), "0"], where + done.stdout + done.stderr
    whole, parts = (load_checkpoint(tmp_path / output / "checkpoint.pt") for output in ("whole", "parts"))
    assert_same(whole, parts, where)
    assert len(parts.history) == 7, where


def assert_same(one: Checkpoint, other: Checkpoint, where: str) -> None:
    """Weights, buffers, the optimizer's moments, random state and figures."""
    for name, value in one.model.items():
        assert torch.equal(value, other.model[name]), f"{name} differs: {where}"
    for index, state in one.optimizer["state"].items():
        for name, value in state.items():
            assert torch.equal(value, other.optimizer["state"][index][name]), (
                f"Adam's {name} differs: {where}"
            )
    assert one.optimizer["param_groups"] == other.optimizer["param_groups"], where
    assert one.schedule == other.schedule, where
    assert torch.equal(one.rng["cpu"], other.rng["cpu"]), where
    figures = [
        [{k: v for k, v in r.items() if k not in {"seconds", "images_per_second"}} for r in run.history]
        for run in (one, other)
    ]
    assert figures[0] == figures[1], where
