"""What docs/training.md says, section by section, and its commands, run with a few keys more."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fxbin.cli import main

DOCS = Path(__file__).parents[2] / "docs"
LAUNCHERS = {"python": [], "torchrun": ["-m", "torch.distributed.run", "--standalone"]}

SHORT = [
    *("epochs=4", "pretrain.epochs=1", "batch_size=8", "device=cpu", "threads=1", "workers=0"),
    *(
        f"compression.params.{key}"
        for key in (
            "activations_quant_start_epoch=1",
            "weights_quant_start_epoch=2",
            "lr_poly_drop_start_epoch=3",
            "lr_poly_drop_duration_epochs=1",
        )
    ),
]
"""Keys that make a training short: one epoch in full precision, and one in each stage."""

STAGES = ["pretraining", "full precision", "activations", "activations and weights", "learning rate falls"]


def sections(page: str) -> dict[str, str]:
    """The text below each heading of the second level."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


def blocks(text: str, language: str) -> list[str]:
    """The code blocks in `language`."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The commands of the blocks in sh, as lists of arguments."""
    lines = "".join(blocks(text, "sh")).splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def shortened(command: list[str], *keys: str) -> list[str]:
    """A training with the keys SHORT, and `keys`."""
    return [*command, *(part for key in (*SHORT, *keys) for part in ("--set", key))]


def run(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `command` prints; it must end with the exit code 0. fxbin runs in this process."""
    if command[0] != "fxbin":
        done = subprocess.run(_spelled(command), capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout
    code: object = 0
    try:
        main(command[1:])
    except SystemExit as stopped:
        code = stopped.code
    printed = capsys.readouterr()
    assert not code, f"{command}: {printed.out}{printed.err}"
    return printed.out


def killed(command: list[str], after: str, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Run `command` in a process of its own, until it prints a line with `after`, and kill it then."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    seen: list[str] = []
    with subprocess.Popen(
        _spelled(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        for line in process.stdout or ():
            seen.append(line)
            if after in line:
                process.send_signal(with_signal)
                break
    assert after in seen[-1], "".join(seen)
    assert process.returncode not in (0, None)


def _spelled(command: list[str]) -> list[str]:
    if command[0] == "fxbin":
        return [sys.executable, "-m", *command]
    return [sys.executable, *LAUNCHERS[command[0]], *command[1:]]
