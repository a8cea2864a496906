"""Large files, weights in a second file, and how other programs read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.export import export_onnx
from tests.binarizing import binarize

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

X = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))


class Wide(nn.Module):
    """A binarized convolution, and a layer in full precision that may be large."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 16, 3)
        self.fc = nn.Linear(16, width)
        self.out = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.fc(self.conv(x).mean((2, 3))))


@pytest.fixture(scope="module")
def model() -> BinarizedModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return binarize(Wide(64), X)


def check(path: Path, model: BinarizedModule) -> None:
    """Both runtimes read the file, or the two, and agree with PyTorch."""
    with torch.no_grad():
        expected = model(X).numpy()
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": X.numpy()})[0], expected, rtol=0, atol=1e-4)
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(X.numpy())[0], expected, rtol=0, atol=1e-4)


def test_weights_can_be_in_a_second_file(model: BinarizedModule, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    whole = export_onnx(model, path).size
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    report = export_onnx(model, path, external_data=True)
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    assert report.size == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert path.stat().st_size < whole < report.size + 1000
    check(path, model)


def test_what_is_too_large_for_one_file_becomes_two(
    model: BinarizedModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxbin.export.write_model.MAX_FILE_SIZE", 10_000)
    export_onnx(model, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx.data").is_file()
    check(tmp_path / "model.onnx", model)


def test_files_of_200_megabytes(tmp_path: Path) -> None:
    model = binarize(Wide(2_600_000), X)
    for external in (False, True):
        report = export_onnx(model, tmp_path / "large.onnx", external_data=external)
        assert report.size > 200e6
        check(tmp_path / "large.onnx", model)


def test_netron_opens_the_file_and_shows_scopes(model: BinarizedModule, tmp_path: Path) -> None:
    netron = pytest.importorskip("netron")
    factory = pytest.importorskip("netron.onnx").ModelFactory()
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    (graph,) = factory.open(onnx.load(path)).to_json()["graphs"]
    names = {node["name"]: node["type"]["name"] for node in graph["nodes"]}
    assert names["Wide/NNCFConv2d[conv]/conv2d_0/Conv"] == "Conv"
    assert names["Wide/NNCFConv2d[conv]/conv2d_0/FakeQuantize"] == "FakeQuantize"
    address = netron.serve(str(path))
    try:
        assert address[1] > 0
    finally:
        netron.stop(address)
