"""Commands take the `state_dict` that a training loop of one's own has saved, with `--config`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fxbin
from fxbin.cli.network import network_from
from fxbin.train.models import resnet_thin
from tests.cli.commands import exit_code

pytestmark = [
    pytest.mark.filterwarnings("default:.*activation scales have never seen a training batch"),
    pytest.mark.filterwarnings("default:.*not fully binarized at this stage"),
]


@pytest.fixture
def state(config: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    model = fxbin.transform(resnet_thin(), config)
    model.binarization.enable(activations=True, weights=False)
    return model.state_dict()


def test_the_weights_and_the_stage_are_those_of_the_file(
    config: Path, state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    for prefix in ("", "module.", "_orig_mod.module."):
        torch.save({prefix + name: value for name, value in state.items()}, "own.pt")
        model = network_from("own.pt", None, config=str(config)).model
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
        assert str(model.binarization.stage) == "activations"
    assert exit_code("export", "own.pt", "own.onnx", "--config", config, "--set", "seed=1") == 0
    assert Path("own.onnx").is_file()


def without(state: dict[str, Any], part: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if part not in name}


WRONG: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda state: without(state, "binarizer"), "lacks layers.0.0.conv1.weight_binarizer.enabled"),
    (lambda state: without(state, "binarizer"), "and 31 more. It is of a model that was not transformed."),
    (lambda state: without(state, "layers.0.0.conv1.weight_b"), "transformed with other ignored_scopes"),
    (lambda state: {f"net.{name}": value for name, value in state.items()}, "Its names have 'net.' before"),
    (
        lambda state: state | {"fc.bias": torch.ones(3)},
        "fc.bias has the shape (3,), and the model",
    ),
    (lambda state: without(state, "bn1"), "It is of another model: name the config"),
    (lambda state: {"model": state, "epoch": 3}, "holds more than tensors by name: model, epoch."),
    (list, "holds a list. Expected what `torch.save"),
    (
        lambda state: {"config": {}, "phase": "", "history": []},
        "--config: own.pt is a checkpoint of `fxbin",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
def test_a_file_that_does_not_fit_is_refused_with_the_reason(
    change: Callable[[dict[str, Any]], Any],
    message: str,
    config: Path,
    state: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.save(change(state), "own.pt")
    assert exit_code("export", "own.pt", "own.onnx", "--config", config) == 2
    assert message in capsys.readouterr().err


def test_which_options_go_together(
    config: Path, state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(state, "own.pt")
    wrong = {
        ("export", "own.pt", "own.onnx"): "For a state_dict of your own loop, name its config with --config",
        (
            "export",
            "own.pt",
            "own.onnx",
            "--set",
            "seed=1",
        ): "--set: 'seed=1': the checkpoint own.pt",
        ("bench", "none.pt", "--config", "tiny.json5"): "none.pt does not exist. Expected what",
        (
            "export",
            "own.pt",
            "own.onnx",
            "--config",
            "tiny.json5",
            "--ema",
        ): "--ema: own.pt is not",
        ("bench", "tiny.json5", "--config", "tiny.json5"): "tiny.json5 is a config itself",
    }
    for arguments, message in wrong.items():
        assert exit_code(*arguments) == 2
        assert message in capsys.readouterr().err
