"""A crash or a hang of OpenVINO is an error here."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fxbin
from fxbin.errors import ExportError, VerificationError
from fxbin.openvino import process, save, verify
from fxbin.openvino.process import OpenVINOError, run_in_process
from tests.binarizing import binarize

# Sleeps as C++ code does that keeps Python's lock: no handler of a signal would run.
NEVER_ENDS = """
import ctypes, sys
from pathlib import Path
from fxbin.openvino_worker.main import JOBS, main

def never_end(job, arrays, start_step):
    start_step("compiling model.onnx")
    ctypes.PyDLL(None).sleep(100)

JOBS["run"] = never_end
main(sys.argv[1], Path(sys.argv[2]))
"""


GIVES_TURNS = """
import sys
from pathlib import Path
from fxbin.openvino_worker.job import give_turn
from fxbin.openvino_worker.main import JOBS, main

def give_turns(job, arrays, start_step):
    for index in range(2):
        print("something else")
        give_turn()
        start_step(f"round {index}")
    return {"rounds": 2}, {}

JOBS["run"] = give_turns
main(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.fixture
def _worker_that_gives_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker_of_turns.py").write_text(GIVES_TURNS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(process, "WORKER", "worker_of_turns")


@pytest.mark.usefixtures("_worker_that_gives_turns")
def test_the_time_limit_does_not_count_while_this_process_has_its_turn() -> None:
    turns = []

    def take_turn() -> None:
        time.sleep(0.7)
        turns.append("taken")

    result, _ = run_in_process("run", {}, {}, time_limit=0.5, take_turn=take_turn)
    assert (result, turns) == ({"rounds": 2}, ["taken", "taken"])


@pytest.mark.usefixtures("_worker_that_gives_turns")
def test_an_error_in_a_turn_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = subprocess.Popen

    def remember(*args: Any, **kwargs: Any) -> Any:
        started.append(popen(*args, **kwargs))
        return started[0]

    def take_turn() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", remember)
    with pytest.raises(KeyboardInterrupt):
        run_in_process("run", {}, {}, take_turn=take_turn)
    assert started[0].wait(10) == -signal.SIGKILL


@pytest.fixture
def _worker_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "never_ending_worker.py").write_text(NEVER_ENDS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(process, "WORKER", "never_ending_worker")


@pytest.mark.usefixtures("_worker_that_never_ends")
def test_a_compilation_without_end_is_ended_and_named() -> None:
    with pytest.raises(
        OpenVINOError,
        match=r"ended after 0\.5 s of compiling model\.onnx; use a larger time_limit, or",
    ):
        run_in_process("run", {}, {}, time_limit=0.5)


@pytest.mark.usefixtures("_worker_that_never_ends")
def test_verify_names_the_file(tmp_path: Path) -> None:
    model = binarize(nn.Conv2d(8, 8, 1), torch.zeros(1, 8, 3, 3))
    path = tmp_path / "never.onnx"
    path.touch()
    with pytest.raises(VerificationError, match=r"never\.onnx: OpenVINO was ended after 0\.5 s of compiling"):
        verify(model, path, layers=False, time_limit=0.5)


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf"), True, "60"])
def test_a_time_limit_is_a_number_of_seconds(tmp_path: Path, limit: float) -> None:
    model = binarize(nn.Conv2d(8, 8, 1), torch.zeros(1, 8, 3, 3))
    for call in (
        verify,
        fxbin.benchmark,
        lambda model, **options: save(model, tmp_path / "model.xml", **options),
    ):
        with pytest.raises(ExportError, match=r"^time_limit: expected seconds, a number above 0, got"):
            call(model, time_limit=limit)


def test_the_process_does_not_load_pytorch() -> None:
    code = f"import runpy, sys; runpy.run_module({process.WORKER!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_current_folder_is_no_place_to_import_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OpenVINOError, match=r"^OpenVINO: .*missing\.onnx"):
        run_in_process("run", {"model": "missing.onnx"}, {})
