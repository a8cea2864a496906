"""Exports a model, runs the file in the runtimes that are installed, and compares with PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.export import ExportMode, ExportReport, export_onnx
from tests.binarizing import binarize

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TOLERANCE = 1e-4
X = torch.randn(1, 8, 9, 9, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model() -> BinarizedModule:
    """Two convolutions and a classifier in their last stage."""
    layers = [nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(392, 5)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return binarize(nn.Sequential(*layers), X)


@pytest.fixture
def path(model: BinarizedModule, tmp_path: Path) -> Path:
    """A file of it."""
    export_onnx(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def in_openvino(path: Path, x: Tensor) -> tuple[NDArray[np.floating], int]:
    """First output of the file for the input `x`, and how many convolutions ran in 1 bit."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(list(x.shape))
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    layers = [node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ops()]
    return compiled(x.numpy())[0], layers.count("BinaryConvolution")


@dataclass
class Checker:
    """Exports to files of its own and compares."""

    path: Path

    def __call__(self, model: BinarizedModule, x: Tensor, one_bit: int, **options: Any) -> ExportReport:
        """Export, run, compare; `one_bit` is how many call sites must be, and run, in 1 bit."""
        report = export_onnx(model, self.path, (x,), **options)
        with torch.no_grad():
            expected = model(x.clone()).numpy()  # which may change it
        onnx.checker.check_model(self.path, full_check=True)
        np.testing.assert_allclose(self.in_onnxruntime(x), expected, rtol=0, atol=TOLERANCE)
        assert report.count(ExportMode.ONE_BIT) == one_bit, str(report)
        if find_spec("openvino") is not None:
            output, count = in_openvino(self.path, x)
            np.testing.assert_allclose(output, expected, rtol=0, atol=TOLERANCE)
            assert count == one_bit
        return report

    def in_onnxruntime(self, x: Tensor) -> NDArray[np.floating]:
        """First output of the last file for the input `x`."""
        session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        output: NDArray[np.floating] = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        return output


@pytest.fixture
def check(tmp_path: Path) -> Checker:
    """See `Checker`."""
    return Checker(tmp_path / "model.onnx")


@pytest.fixture(name="binarize")
def binarize_fixture() -> Callable[..., BinarizedModule]:
    """See `binarize`."""
    return binarize
