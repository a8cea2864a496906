"""Exports of layers and binarizers that run other code than that of their class."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.export.report import ExportMode
from tests.changed_layers import KINDS, X, layers, plus

OPERATORS = ["openvino", "standard", "fxbin"]


def in_file(model: nn.Module, path: Path, operators: Any) -> tuple[Tensor, Any]:
    report = fxbin.export_onnx(model, path, (X,), operators=operators)
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    return torch.from_numpy(found), report.sites


@pytest.mark.parametrize("name", KINDS)
def test_other_code_of_a_layer_is_in_the_file(name: str, tmp_path: Path) -> None:
    model = layers(lambda m: plus(getattr(m, name)))
    found, _ = in_file(model, tmp_path / "m.onnx", "openvino")
    torch.testing.assert_close(found, model(X), rtol=1e-4, atol=1e-5)


def test_patched_dropout_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = layers()
    monkeypatch.setattr(nn.Dropout, "forward", lambda _self, x: x * 2)
    found, _ = in_file(model, tmp_path / "m.onnx", "openvino")
    torch.testing.assert_close(found, model(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operators", OPERATORS)
@pytest.mark.parametrize("kind", ["activation", "weight"])
@pytest.mark.parametrize("change", ["a hook", "a forward"])
def test_changed_binarizer_is_in_the_file_in_float(
    change: str, kind: str, operators: str, tmp_path: Path
) -> None:
    def doubled(m: Any) -> None:
        binarizer = getattr(m.conv, f"{kind}_binarizer")
        if change == "a hook":
            binarizer.register_forward_hook(lambda _b, _x, y: 2 * y)
        else:
            binarizer.forward = lambda x, own=binarizer.forward: 2 * own(x)

    model = layers(doubled)
    found, (changed, _) = in_file(model, tmp_path / "m.onnx", operators)
    torch.testing.assert_close(found, model(X), rtol=1e-4, atol=1e-5)
    assert changed.mode is ExportMode.FLOAT
    expected = "has hooks" if change == "a hook" else "forward was assigned"
    assert operators == "standard" or expected in changed.reason


@pytest.mark.parametrize("of", ["forward", "__call__"])
def test_layer_that_runs_a_binarized_one_is_in_the_file(of: str, tmp_path: Path) -> None:
    model = layers(lambda m: setattr(m.act, "forward", getattr(m.conv, of)))
    found, _ = in_file(model, tmp_path / "m.onnx", "openvino")
    torch.testing.assert_close(found, model(X), rtol=1e-4, atol=1e-5)
