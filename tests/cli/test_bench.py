"""`fxbin bench`."""

import json
from pathlib import Path

import pytest
import torch

from fxbin.engine.library import Engine
from tests.cli.commands import exit_code

# As for whoever types a command.
pytestmark = pytest.mark.filterwarnings("default:.*activation scales have never seen a training batch")


def test_bench_times_the_forms_in_turns(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    options = ("--runtimes", "openvino", "--rounds", 2, "--no-int8")
    assert exit_code("bench", config, *options, "--output", "new/bench.json") == 0
    shown = capsys.readouterr().out
    assert "median CPU time of 6 runs, taken in turns; 1 thread, hint f32" in shown
    assert "6 of 6" in shown
    found = json.loads(Path("new/bench.json").read_text())
    assert [timing["name"] for timing in found["timings"]] == ["float32", "1 bit"]
    assert all(len(timing["seconds"]) == 6 for timing in found["timings"])


def test_bench_times_the_engine(built: Engine, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("bench", config, "--runtimes", "engine", "--rounds", 1) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"PyTorch {torch.__version__} on ")
    assert "| PyTorch, float32 |" in shown
    assert "| PyTorch, 1 bit   |" in shown
    assert exit_code("bench", config, "--runtimes", "engine", "--precision", "bf16") == 2
    assert "precision: got 'bf16', an option of OpenVINO" in capsys.readouterr().err
    assert exit_code("bench", config, "--runtimes", "tvm") == 2
    assert "expected a list of some of engine, onnxruntime, openvino, got 'tvm'" in capsys.readouterr().err
