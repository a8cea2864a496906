"""The command `fxbin` itself: errors, help."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import fxbin
from fxbin.cli import main
from fxbin.cli.app import COMMANDS
from fxbin.errors import ConfigError
from tests.cli.commands import exit_code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.json5"], "none.json5: no such file"),
        (["export", "none.pt", "out.onnx"], "checkpoint none.pt does not exist"),
        (
            ["export", "none.pt", "new/out.pt"],
            "OUT: 'new/out.pt': expected a name that ends in .onnx or .pt2",
        ),
        (
            ["export", "none.pt", "out.pt2", "--weights", "float"],
            "--weights: got float, but a .pt2 file has no ONNX operators",
        ),
        (["export", "resnet_thin", "out.onnx", "--ema"], "--ema: resnet_thin is not a checkpoint, expected"),
        (
            ["bench", "none.pt", "-o", "."],
            "--output: '.' is a folder; give the name of a file, such as model.json",
        ),
        (
            ["bench", "none.pt", "-o", "new/times"],
            "--output: 'new/times': expected a name that ends in .json",
        ),
        (["scopes", "resnet_thim"], "closest: resnet_thin"),
        (["scopes", "zzzzqqqq"], "model: 'zzzzqqqq' is not known. A model is one of resnet_thin"),
        (["scopes", "resnet_thin", "--input", "1,two"], "--input: '1,two' is not a shape"),
        (["scopes", "tiny.json5", "--input", "1,1"], "the config has its own input_info"),
        (
            ["scopes", "."],
            "model: '.' is a folder; expected a config (a .json5 file), or the name of a model.",
        ),
        (["report", "runs/nope"], "'runs/nope' is not known; there is no such file or folder either."),
    ],
)
def test_a_mistake_is_one_paragraph_and_exit_code_2(
    config: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "is not known" in message or "closest" in message:
        pytest.importorskip("torchvision")
    assert exit_code(*arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.startswith("Error: ")
    assert "Traceback" not in shown
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["graph", "resnet_thin", "--collapse", "0"], "'0'"),
        (["graph", "resnet_thin", "--collapse", "layer1"], "'layer1'"),
        (["bench", "resnet_thin", "--rounds", "-1"], "'-1'"),
        (["bench", "resnet_thin", "--threads", "1.5"], "'1.5'"),
        (["bench", "resnet_thin", "--time-limit", "nan"], "'nan'"),
        (["predict", "runs/a", "a.png", "--top", "all"], "'all'"),
        (["export", "resnet_thin", "a.onnx", "--opset", "7"], "'7'"),
        (["verify", "resnet_thin", "--tolerance", "0"], "'0'"),
    ],
)
def test_number_that_is_none_is_named_with_what_was_expected(
    arguments: list[str], value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*arguments) == 2
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"'{arguments[-2]}': got {value}, expected a " in shown


def test_traceback_lets_the_error_through(config: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        main(["train", "none.json5", "--traceback"])


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(command, "--help") == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"fxbin {command}" in " ".join(shown.split())


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_no_word_of_a_help_is_cut_at_80_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert exit_code(*command.split(), "--help") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert not re.search(r"<[^>\n]*$", shown, re.MULTILINE)


def test_command_to_start_with_needs_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    words = re.search(r"Start with fxbin ((?:[\w-]+ ?)+),", shown)
    assert words is not None
    assert exit_code(*words[1].split()) == 0
    assert "conv2d binarized" in capsys.readouterr().out


def test_example_config_that_is_not_there_says_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("train", "configs/demo.json5") == 2
    assert "Examples are in configs/ of fxbin's repository." in capsys.readouterr().err


def test_the_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fxbin", "--help"], capture_output=True, text=True, check=True
    )
    assert "train" in done.stdout


def test_h_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["-h"], ["bench", "-h"]):
        assert exit_code(*arguments) == 0
        assert "Usage: " in capsys.readouterr().out
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"fxbin {fxbin.__version__}\n"
    assert fxbin.__version__ == version("fxbin")
