"""`fxbin check`."""

from pathlib import Path

import pytest

from tests.cli.commands import exit_code, write


def test_check_lists_all_problems(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("check", config) == 0
    assert "note: 6 of 9 conv2d are binarized" in capsys.readouterr().out
    write(config, ignored_scopes=["foo", "bar"])
    assert exit_code("check", config) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop().startswith("note: params.activation_scale_init: not given")
    assert [line.split(" matches")[0] for line in lines] == [
        'error: ignored_scopes: "foo"',
        'error: ignored_scopes: "bar"',
    ]
    write(config, epoch=1, batch_size="2")
    assert exit_code("check", config) == 2
    assert [line.split(": ")[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["error", "batch_size"],
        ["error", "epoch"],
    ]


def test_check_takes_other_data_as_train_does(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("check", config, "--data", "torchvision:MNIST", "--data-dir", tmp_path) == 2
    assert str(tmp_path) in capsys.readouterr().out
