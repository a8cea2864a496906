"""What `fxbin check` finds, `fxbin train` finds before it writes anything, and the other way round."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch

from fxbin.train import checks, run
from fxbin.train.checks import CHECKS
from fxbin.train.loggers import choose
from tests.cli.commands import CONFIG, exit_code, write
from tests.folders import write_folder

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
    ({"pretrained": True}, "model: 'resnet_thin' has no pretrained weights"),
    ({"model": "own.py:make"}, "model: 'own.py:make': the file own.py does not exist: looked in"),
    (section(ignored_scopes=["{re}conv7"]), 'compression.ignored_scopes: "{re}conv7" matches no node'),
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
        'note: 0 of 9 conv2d are binarized (in ignored_scopes: "{re}.*")',
    ),
    (section(), "note: 6 of 9 conv2d are binarized"),
    ({"data_dir": "beside"}, "note: data_dir: beside is not in"),
    (
        {"data": "mnist", "num_classes": 12},
        "note: the network has 12 outputs, and 'mnist' has 10 classes: the other outputs have no pictures",
    ),
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
def test_a_network_whose_classes_are_unknown_is_no_second_problem(
    command: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.py").write_text("def make(num_classes):\n    return None\n")
    write(config, model="own.py:make", data="minst")
    assert exit_code(command, config) == 2
    shown = capsys.readouterr()
    assert "'minst' is not a known data set" in shown.out + shown.err
    assert "own.py:make" not in shown.out + shown.err


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


def wrong_logits(_patch: pytest.MonkeyPatch) -> dict[str, Any]:
    Path("own.py").write_text(
        "from torch import nn\n\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    return {"data": "mnist", "model": "own.py:make", "compression": {"algorithm": "binarization"}}


def weights_that_cannot_be_downloaded(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    pytest.importorskip("torchvision")
    pytest.importorskip("PIL")

    def refused(*_: object, **__: object) -> None:
        raise URLError("no network")

    patch.setattr("urllib.request.urlopen", refused)
    patch.setattr("torch.hub.urlopen", refused)
    patch.setenv("TORCH_HOME", str(Path.cwd() / "no_cache"))
    write_folder(Path("pictures"), pictures=4, size=(40, 40))
    return {
        "model": "torchvision:resnet18",
        "pretrained": True,
        "data": "folder:pictures",
        "workers": 0,
        "input_info": {"sample_size": [1, 3, 32, 32]},
        "compression": {"algorithm": "binarization"},
    }


def a_logger_that_is_not_installed(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setitem(choose.PACKAGES, "wandb", "no_such_package")
    return {"loggers": ["wandb"]}


def no_compiler(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    def missing(_function: object) -> None:
        raise RuntimeError("no C++ compiler was found.")

    patch.setattr(torch, "compile", missing)
    return {"compile": True}


def no_room(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=100))
    return {}


def more_processes_than_pictures(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(checks, "rank_count", lambda: 17)
    return {"data": "mnist", "batch_size": 16}


OF_THE_MACHINE: dict[Callable[[pytest.MonkeyPatch], dict[str, Any]], str] = {
    wrong_logits: "model: 'own.py:make': expected logits of shape (2, 10) for pictures of shape "
    "(2, 1, 12, 12), one for each class of 'mnist', got (2, 3)",
    weights_that_cannot_be_downloaded: "pretrained: the weights of 'torchvision:resnet18' cannot be loaded: ",
    a_logger_that_is_not_installed: "loggers: wandb: it is not installed: `pip install 'fxbin[wandb]'`",
    no_compiler: "compile: torch.compile does not work on cpu: no C++ compiler was found.",
    no_room: "one checkpoint of this run needs",
    more_processes_than_pictures: "batch_size: 16 is too small for 17 processes",
}
"""What is set up, which returns changes of the config, and what is found then."""


@pytest.mark.parametrize("prepare", OF_THE_MACHINE, ids=lambda prepare: prepare.__name__)
@pytest.mark.parametrize("command", ["check", "train"])
def test_what_is_missing_here_is_found_by_both(
    command: str,
    prepare: Callable[[pytest.MonkeyPatch], dict[str, Any]],
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = prepare(monkeypatch)
    assert exit_code(command, write(config, device="cpu", **changes)) == 2
    shown = capsys.readouterr()
    assert OF_THE_MACHINE[prepare] in shown.out + shown.err
    assert "Traceback" not in shown.err
    assert not Path("runs").exists()


@pytest.mark.usefixtures("no_files_at_the_end")
def test_a_run_of_another_config_in_the_folder_is_found_by_both(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, data="mnist")
    assert exit_code("train", config, "-o", "run") == 0
    assert exit_code("check", config, "-o", "run") == 0
    before = {file: file.stat().st_mtime_ns for file in Path("run").iterdir()}
    write(config, data="mnist", seed=5)
    capsys.readouterr()
    for command in ("check", "train"):
        assert exit_code(command, config, "-o", "run") == 2
        shown = capsys.readouterr()
        assert "seed: the run in run was started with 0, the config now says 5" in shown.out + shown.err
    assert exit_code("check", config, "-o", "run", "--restart") == 0
    assert {file: file.stat().st_mtime_ns for file in Path("run").iterdir()} == before


def test_every_check_has_a_test_here() -> None:
    """A new check belongs into one of the lists of this file."""
    assert [check.__name__ for check in CHECKS] == [
        *("keys_without_effect", "paths_elsewhere", "stages_not_reached", "weights_before_activations"),
        *("start_as_in_nncf", "device_is_there", "output_can_be_written", "loggers_are_installed"),
        *("compiler_works", "data_fit", "classes_are_several", "held_out_can_be_read"),
        *("processes_get_pictures", "run_can_be_resumed", "checkpoint_has_room", "scopes_match"),
        *("progress_has_an_end", "pretrained_weights_are_there", "logits_are_those_of_the_classes"),
        *("weight_decay_is_excluded", "teacher_teaches", "features_are_there"),
    ]


def test_a_training_names_all_problems_at_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(config, data="minst", ignored_scopes=["foo", "bar"])
    assert exit_code("train", config) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Error: the training does not start: 3 problems"
    assert [line.strip().split(" ")[1] for line in lines[1:]] == ["'minst'", '"foo"', '"bar"']


def test_a_config_for_another_loop_names_no_data(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(config, input_info={"sample_size": [1, 1, 16, 16]})
    assert exit_code("check", config) == 0
    shown = capsys.readouterr().out
    assert (
        "note: the config names no data, and `fxbin train` would not start with the default: input" in shown
    )
    assert exit_code("train", config) == 2
