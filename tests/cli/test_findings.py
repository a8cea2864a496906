"""What `fxbin check` finds, `fxbin train` finds before it writes anything, and the other way round."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fxbin.train import run
from tests.cli.commands import CONFIG, exit_code, write

SECTION: dict[str, Any] = CONFIG["compression"]  # type: ignore[assignment]


def section(params: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    return {"compression": SECTION | {"params": SECTION["params"] | (params or {})} | keys}


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 1}, 'epoch: unknown key (value 1). Did you mean "epochs"?'),
    (section(mode="xnr"), 'compression.mode: got "xnr", expected one of'),
    ({"data": "minst"}, "data: 'minst' is not a known data set"),
    (
        {"data": "mnist", "input_info": {"sample_size": [1, 3, 12, 12]}},
        "input_info.sample_size: [1, 3, 12, 12] does not fit the pictures of 'mnist': expected [1, 1,",
    ),
    ({"data": "mnist", "num_classes": 3}, "num_classes: 3 is too few for 'mnist', which has 10"),
    (
        section(activations={"estimator": "ede"}),
        (
            "compression.params.progress_epochs: is missing, expected the number of epochs over which this "
            'changes: compression.activations.estimator "ede". Add it, or lr_poly_drop_start_epoch, '
        ),
    ),
    ({"device": "cuda"}, "device: 'cuda' is not available here"),
    ({"model": "own.py:make"}, "model: 'own.py:make': the file own.py does not exist: looked in"),
    (section(ignored_scopes=["{re}conv7"]), "compression.ignored_scopes: '{re}conv7' matches no node"),
    (
        section({"wd_exclude": ["{re}conv7"]}),
        "params.wd_exclude: '{re}conv7' matches the name of no",
    ),
    (
        {"distillation": {"features": ["layer1"]}},
        "'layer1' is no module of ResNetThin",
    ),
    (
        {"data": "mnist", "distillation": {"teacher": {"checkpoint": "none.pt"}}},
        "distillation.teacher.checkpoint: '",
    ),
]

NOTES: list[tuple[dict[str, Any], str]] = [
    ({"log_dir": "x"}, "note: log_dir: accepted for configs written for NNCF"),
    ({"epochs": 2}, "note: compression.params.weights_quant_start_epoch: 2 is not reached in 2 epochs"),
    (
        section({"weights_quant_start_epoch": 0}),
        "note: compression.params.weights_quant_start_epoch: 0 is before activations_quant_start_epoch, 1",
    ),
    (section(), "note: params.activation_scale_init: not given"),
    (
        section(ignored_scopes=["{re}.*"]),
        "note: 0 of 9 conv2d are binarized (in ignored_scopes: '{re}.*')",
    ),
    (section(), "note: 6 of 9 conv2d are binarized"),
    ({"data_dir": "beside"}, "note: data_dir: beside is not in"),
    (
        section({"weight_scale_axis": "input"}, mode="dorefa"),
        'note: compression.params.weight_scale_axis: "input" has no effect beside compression.mode "dorefa"',
    ),
]


@pytest.mark.parametrize(("changes", "message"), PROBLEMS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("command", ["check", "train"])
def test_a_problem_is_found_by_both_before_anything_is_written(
    command: str, changes: dict[str, Any], message: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "device" in changes and torch.cuda.is_available():
        pytest.skip("the device is there")
    before = sorted(Path().iterdir())
    assert exit_code(command, write(config, **changes)) == 2
    shown = capsys.readouterr()
    assert message in shown.out + shown.err
    assert "Traceback" not in shown.err
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(("changes", "message"), NOTES, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("command", ["check", "train"])
def test_a_surprise_is_noted_by_both(
    command: str,
    changes: dict[str, Any],
    message: str,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "pretrain", stopped)
    (config.parent / "elsewhere" / "beside").mkdir(parents=True)
    monkeypatch.chdir(config.parent / "elsewhere")
    assert exit_code(command, write(config, **changes)) == (0 if command == "check" else 130)
    assert message in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "train"])
def test_channels_that_do_not_fit_the_model_are_found_by_both(
    command: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.py").write_text("from torch import nn\n\ndef make():\n    return nn.Conv2d(3, 4, 3)\n")
    write(config, model="own.py:make", compression={"algorithm": "binarization"})
    assert exit_code(command, config) == 2
    shown = capsys.readouterr()
    assert "Conv2d cannot be traced with inputs ((1, 1, 12, 12),)" in shown.out + shown.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["check", "train"])
def test_an_output_folder_that_cannot_be_written_is_found_by_both(
    command: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    assert exit_code(command, config, "-o", "file/run") == 2
    shown = capsys.readouterr()
    found = "--output: 'file/run' cannot be written: " + str(Path("file").absolute()) + " is not a folder"
    assert found in shown.out + shown.err
    assert Path("file").read_text() == ""


def test_a_training_names_all_problems_at_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(config, data="minst", ignored_scopes=["foo", "bar"])
    assert exit_code("train", config) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Error: the training does not start: 3 problems"
    assert [line.strip().split(" ")[1] for line in lines[1:]] == ["'minst'", "'foo'", "'bar'"]


def test_a_config_for_another_loop_names_no_data(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(config, input_info={"sample_size": [1, 1, 16, 16]})
    assert exit_code("check", config) == 0
    shown = capsys.readouterr().out
    assert (
        "note: the config names no data, and `fxbin train` would not start with the default: input" in shown
    )
    assert exit_code("train", config) == 2
