"""`operators="standard"`: the same network in standard ONNX operators only."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.errors import ExportError
from fxbin.export import ExportMode, export_onnx
from tests.binarizing import binarize

X = torch.randn(2, 6, 9, 9, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """What the export treats by itself: odd channels, wide padding, a sum, groups, a shared weight."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(6, 8, 7, padding=3)
        self.twice, self.bn = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, groups=4)

    def forward(self, x: Tensor) -> Any:
        x = self.wide(x).relu()
        x = self.bn(self.twice(x) + self.twice(x * 2))
        return self.grouped(x).mean((2, 3))


@pytest.fixture(scope="module")
def model() -> BinarizedModule:
    """`Net` in its last stage."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return binarize(Net(), X)


@torch.no_grad()
def expected(model: BinarizedModule) -> Any:
    return model(X).numpy()


def test_a_file_has_standard_operators_alone(model: BinarizedModule, tmp_path: Path) -> None:
    report = export_onnx(model, tmp_path / "model.onnx", operators="standard")
    proto = onnx.load(tmp_path / "model.onnx")
    assert {node.domain for node in proto.graph.node} == {""}
    assert [entry.domain for entry in proto.opset_import] == [""]
    assert not proto.functions
    assert report.operators == "standard"
    assert report.count(ExportMode.FLOAT) == len(report.sites) == 4
    assert {site.reason for site in report.sites} == {'operators="standard" was asked for'}


@pytest.mark.parametrize("weights", ["packed", "float"])
def test_every_runtime_computes_what_pytorch_computes(
    check: Any, model: BinarizedModule, weights: str
) -> None:
    check(model, X, one_bit=0, operators="standard", weights=weights)
    outputs: Any = ReferenceEvaluator(str(check.path)).run(None, {"x": X.numpy()})
    np.testing.assert_allclose(outputs[0], expected(model), rtol=0, atol=1e-5)


def test_weights_in_float_are_constants_of_the_convolutions(model: BinarizedModule, tmp_path: Path) -> None:
    export_onnx(model, tmp_path / "model.onnx", operators="standard", weights="float")
    graph = onnx.load(tmp_path / "model.onnx").graph
    constants = {tensor.name for tensor in graph.initializer}
    assert all(node.input[1] in constants for node in graph.node if node.op_type == "Conv")


def test_values_at_the_threshold_and_nan_compare_as_in_pytorch(check: Any) -> None:
    model = binarize(nn.Conv2d(8, 8, 1), torch.zeros(1, 8, 1, 1))
    (site,) = model.binarization.sites.values()
    threshold = site.activation.levels().threshold
    for x in (threshold.detach(), torch.full((1, 8, 1, 1), torch.nan), -threshold.detach() * torch.inf):
        export_onnx(model, check.path, operators="standard")
        np.testing.assert_allclose(check.in_onnxruntime(x), model(x).detach(), rtol=0, atol=1e-6)


def test_an_unknown_choice_is_named(model: BinarizedModule, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match='"openvino", "fxbin" or "standard", got \'onnx\''):
        export_onnx(model, tmp_path / "model.onnx", operators="onnx")  # type: ignore[arg-type]


def test_an_operator_of_the_model_itself_is_named(tmp_path: Path) -> None:
    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.onnx.ops.symbolic(
                "org.example::Own", (self.conv(x),), dtype=x.dtype, shape=(1, 8, 3, 3)
            )
            return y

    model = binarize(Custom(), torch.zeros(1, 8, 5, 5))
    with pytest.raises(ExportError, match=r'operators="standard": the model itself calls org\.example::Own'):
        export_onnx(model, tmp_path / "model.onnx", operators="standard")
    assert not list(tmp_path.iterdir())
