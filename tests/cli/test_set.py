"""`--set KEY=VALUE`: any key of a config from the command line."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import exit_code, write


def test_set_changes_what_a_command_reads(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("scopes", config, "--set", 'ignored_scopes=["{re}fc"]') == 0
    assert capsys.readouterr().out.count("binarized") == 6
    assert exit_code("scopes", config, "--set", "compression.ignored_scopes[1]={re}layers.*conv1") == 0
    assert capsys.readouterr().out.count("    binarized") == 5
    assert exit_code("check", config, "--set", "compression.params.weights_quant_start_epoch=9") == 0
    assert "weights_quant_start_epoch: 9 is not reached in 3 epochs" in capsys.readouterr().out
    assert exit_code("scopes", "resnet_thin", "--set", "compression.call_sites=modules") == 0


@pytest.mark.usefixtures("no_files_at_the_end")
def test_a_training_goes_by_what_is_set_and_resumes_with_the_same(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, pretrain={"epochs": 0}, epochs=5)
    changed = ("--set", "epochs=3", "--set", "compression.params.base_lr=2e-3")
    assert exit_code("train", config, *changed, "-o", "out") == 0
    report = json.loads(Path("out/report.json").read_text())
    assert [record["lr"] for record in report["history"]] == [2e-3] * 3
    capsys.readouterr()
    assert exit_code("train", config, "-o", "out") == 2
    assert "compression.params.base_lr: the run in out was started with 0.002" in capsys.readouterr().err
    assert exit_code("train", config, *changed, "-o", "out") == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=3", 'with --set epoch=3: epoch: unknown key (value 3). Did you mean "epochs"?'),
        ("compression.params.base_rl=1", "compression.params.base_rl: unknown key (value 1). Did you mean"),
        ("epochs=many", 'with --set epochs="many": epochs: got "many", expected a whole number'),
        ("epochs", "--set: got 'epochs', expected KEY=VALUE"),
        ("compression.ignored_scopes[2]=x", "the list has 2 elements, the last one at 1: set the whole"),
        ("epochs.more=1", '--set epochs.more=1: a key, "more", was expected to lead into 3, which has none'),
        ("ignored_scopes=[a", "--set: 'ignored_scopes=[a': the value begins like JSON5 and is not"),
    ],
)
def test_what_is_set_is_checked_as_the_file_is(
    text: str, message: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("train", "scopes"):
        assert exit_code(command, config, "--set", text) == 2
        assert message in capsys.readouterr().err
    assert sorted(Path().iterdir()) == [Path("tiny.json5")]
