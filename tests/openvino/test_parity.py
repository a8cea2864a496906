from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from fxbin import parity as parity_module
from fxbin.errors import ExportError
from fxbin.export import export_onnx
from fxbin.module import BinarizedModule
from fxbin.parity import parity
from tests.binarizing import binarize
from tests.openvino.test_verify import Net, changed_levels

X = torch.randn(1, 8, 9, 9, generator=torch.Generator().manual_seed(0))
SECOND = "Net/NNCFConv2d[conv2]/conv2d_0"


@pytest.fixture(scope="module")
def model() -> BinarizedModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return binarize(Net(), X)


def test_runtimes_agree_and_the_report_says_so(model: BinarizedModule) -> None:
    report = parity(model, [X, -X], layers=True)
    assert report.is_right
    assert [found.runtime for found in report.runtimes] == ["onnxruntime", "openvino"]
    assert all(found.first_difference is None for found in report.runtimes)
    assert all(found.outputs[0].difference < 1e-5 for found in report.runtimes)
    assert str(report).startswith("onnxruntime beside PyTorch eager:\n")


def test_compiled_pytorch_is_a_runtime_too(model: BinarizedModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BinarizedModule, "compile", lambda module: None)  # no compiler needed here
    report = parity(model, runtimes=["compiled"])
    assert report.is_right
    assert report.runtimes[0].outputs[0].difference == 0


def test_the_first_layer_that_differs_is_named(
    model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_wrongly(module: Any, path: Path, inputs: Any) -> None:
        export_onnx(module, path, inputs, weights="float")
        proto = onnx.load(path)
        changed_levels(proto)
        onnx.save(proto, path)

    monkeypatch.setattr(parity_module, "export_onnx", export_wrongly)
    report = parity(model, layers=True)
    assert not report.is_right
    assert [found.first_difference for found in report.runtimes] == [SECOND, SECOND]
    assert str(report).count(f"first layer that differs: {SECOND}") == 2


def test_what_a_runtime_refuses_is_in_the_report(
    model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity_module, "export_onnx", lambda _model, path, _inputs: path.write_bytes(b"?"))
    report = parity(model, runtimes=["openvino"])
    assert not report.is_right
    assert "OpenVINO" in report.runtimes[0].problem
    assert report.runtimes[0].problem in str(report)


def test_a_runtime_that_is_not_known_is_named(model: BinarizedModule) -> None:
    with pytest.raises(ExportError, match="expected some of compiled, onnxruntime, openvino, got 'tvm'"):
        parity(model, runtimes=["tvm"])  # type: ignore[list-item]
