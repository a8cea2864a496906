"""What type checkers infer for user code, with an editable install of fxbin."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any, assert_type

import pytest
import torch
from torch import Tensor, nn

import fxbin
from tests.transforming import SMALL, Small

ROOT = Path(__file__).parents[1]

CACHE = ROOT / ".mypy_cache" / "script"

SCRIPT = """
from torch import nn
import fxbin

class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)

original = Net()
binarized = fxbin.transform(original, "config.json5")
reveal_type(binarized.fc)
assert isinstance(binarized, fxbin.BinarizedModule)
reveal_type(binarized.fc)
reveal_type(binarized.binarization)
fxbin.trasform
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of an environment with an editable install of fxbin, beside all that is installed here."""
    folder = tmp_path / "venv"
    venv.create(folder, symlinks=True)
    here = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (here / "installed.pth").write_text(sysconfig.get_path("purelib"))
    found = folder / "bin" / "python"
    install = ("install", "--no-deps", "--no-build-isolation", "--no-index", "--editable", ROOT)
    subprocess.run(
        [sys.executable, "-m", "pip", "-q", "--python", found, *install], check=True, capture_output=True
    )
    return found


def test_mypy_finds_an_editable_install_and_knows_the_class_of_the_model(
    python: Path, tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [python, "-m", "mypy", "--cache-dir", CACHE, "script.py"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    assert [line.removeprefix("note: Revealed type is ").strip('"') for line in told[:-1]] == [
        "torch.nn.modules.linear.Linear",
        "torch.nn.modules.linear.Linear",
        "fxbin.binarized.state.BinarizationState",
        'error: Module has no attribute "trasform"  [attr-defined]',
    ]


class Typed(Small):
    """Says what a call returns, which `nn.Module` leaves open."""

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = super().__call__(x)
        return found


def test_the_plugin_of_mypy_tells_what_is_true() -> None:
    """`make lint` checks what these types are, this test that values are of them."""
    binarized = fxbin.transform(Typed(), SMALL)
    assert_type(binarized.fc, nn.Linear)
    assert_type(binarized.binarization, fxbin.BinarizationState)
    assert_type(binarized(torch.zeros(2, 3, 8, 8)), Tensor)
    assert isinstance(binarized, Typed)
    assert isinstance(binarized, fxbin.BinarizedModule)


def test_the_plugin_of_mypy_leaves_a_model_of_any_class_open() -> None:
    model: Any = Small()
    assert_type(fxbin.transform(model, SMALL), Any)
    either = fxbin.transform(Small() if model.training else nn.Sequential(Small()), SMALL)
    assert_type(either.binarization, fxbin.BinarizationState)
