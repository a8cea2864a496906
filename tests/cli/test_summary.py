"""`fxbin summary`."""

import json
from pathlib import Path

import pytest

import fxbin
from fxbin.train.models import resnet_thin
from tests.cli.commands import exit_code


def test_the_table_is_that_of_the_function(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = fxbin.summary(fxbin.transform(resnet_thin(), config))
    assert exit_code("summary", config) == 0
    assert capsys.readouterr().out == f"{report}\n"
    assert exit_code("summary", config, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(report.to_dict()))


def test_a_target_and_changes_are_taken(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        exit_code(
            "summary", config, "--target", "engine", "--set", "ignored_scopes={re}BasicBlock.*\\[conv2\\]"
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert "3 of 9 conv2d binarized (xnor), stage: full precision" in shown
    assert "engine" in shown
    assert exit_code("summary", config, "--target", "tpu") == 2
