"""`fxbin scopes`."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.commands import exit_code, write


def test_scopes_lists_conv2d_call_sites_with_the_reason_of_each_ignored_one(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("scopes", config) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[0].split("    ") == [
        "ResNetThin/NNCFConv2d[conv1]/conv2d_0",
        "conv2d",
        "1x16x12x12",
        "full precision: in ignored_scopes",
    ]
    block = "ResNetThin/Sequential[layers]/Sequential[0]/BasicBlock[0]"
    assert lines[1].startswith(f"{block}/NNCFConv2d[conv1]/conv2d_0    conv2d    ")
    assert lines[1].endswith("    binarized")


@pytest.mark.filterwarnings("default")
def test_scopes_helps_to_correct_a_scope_that_matches_nothing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, ignored_scopes=["ResNetThin/NNCFConv2d[conv7]/conv2d_0"])
    assert exit_code("graph", config, "-o", "graph.dot") == 2
    assert 'Error: ignored_scopes: "ResNetThin/NNCFConv2d[conv7]/conv2d_0"' in capsys.readouterr().err
    assert exit_code("scopes", config) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 9
    assert shown.err.startswith('Warning: ignored_scopes: "ResNetThin/NNCFConv2d[conv7]/conv2d_0"')


def test_scopes_of_a_model_by_name_can_show_every_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("scopes", "resnet_thin", "--all", "--input", "1x1x16x16") == 0
    lines = [line.split("    ")[0] for line in capsys.readouterr().out.splitlines()]
    assert "ResNetThin/NNCFLinear[fc]/linear_0" in lines
    assert "ResNetThin/MaxPool2d[maxpool]/max_pool2d_0" in lines


def test_scopes_shows_what_a_pattern_selects(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("scopes", config, "--match", r"{re}NNCF\w+\[conv1\]/") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("NNCFConv2d[conv1]/conv2d_0    conv2d" in line for line in lines)
    assert exit_code("scopes", config, "--match", "conv7") == 2
    assert "Error: --match: 'conv7' matches no node" in capsys.readouterr().err


@pytest.mark.parametrize(
    "pattern", [r"{re}NNCFConv2d[conv1]/", r"{re}nncfconv2d\[conv1\]", "{re}conv1]/conv2d_1"]
)
def test_suggested_pattern_can_be_pasted_into_the_shell(
    config: Path, pattern: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("scopes", config, "--match", pattern) == 2
    said = capsys.readouterr().err
    assert f"Error: --match: {shlex.quote(pattern)} matches no node" in said
    _, suggested, *_ = re.findall("'[^']*'", said)
    assert exit_code("scopes", config, "--match", *shlex.split(suggested)) == 0
    assert "NNCFConv2d[conv1]/conv2d_0" in capsys.readouterr().out


def test_match_that_is_no_expression_says_how_to_write_brackets(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("scopes", config, "--match", r"{re}layer1\[0 [") == 2
    said = capsys.readouterr().err
    assert said.startswith(r"Error: --match: '{re}layer1\[0 [' is not a regular expression (unterminated")
    assert said.rstrip().endswith(r"Write brackets of names as \[ and \].")


def test_scopes_of_a_model_with_a_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("scopes", "resnet_thin", "--config", config) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9
    assert exit_code("scopes", config, "--config", config) == 2
    assert "is a config itself" in capsys.readouterr().err
