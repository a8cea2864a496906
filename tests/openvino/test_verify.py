"""`verify` accepts correct files and raises an error for all others."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import compose, helper, inliner, numpy_helper
from torch import Tensor, nn

from fxbin import compare_runtimes
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import ExportError, TransformError, VerificationError
from fxbin.export import export_onnx
from fxbin.openvino import VerifyReport, save, verify
from fxbin.verification.compare import allowed_difference, largest_difference
from tests.binarizing import binarize
from tests.openvino.raw_patterns import write_conv

X = torch.randn(1, 8, 9, 9, generator=torch.Generator().manual_seed(0))
SECOND = "Net/NNCFConv2d[conv2]/conv2d_0"


class Net(nn.Module):
    """Two convolutions with a BatchNorm between them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.conv2(self.bn(self.conv1(x)).relu()).mean((2, 3))


@pytest.fixture(scope="module")
def model() -> BinarizedModule:
    """`Net` in its last stage; no test changes it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return binarize(Net(), X)


@pytest.fixture(scope="module")
def exported(model: BinarizedModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of it, to copy."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(model, path, weights="float")
    return path


@pytest.fixture
def path(exported: Path, tmp_path: Path) -> Path:
    """A file of it that a test may change."""
    return Path(shutil.copy(exported, tmp_path / "model.onnx"))


def test_a_right_file_is_reported_on(model: BinarizedModule, path: Path) -> None:
    model.train()
    report = verify(model, path)
    assert model.training
    model.eval()
    assert (report.promised, report.found, report.problems) == (2, 2, ())
    assert [output.name for output in report.outputs] == ["output"]
    assert report.outputs[0].difference < 1e-5
    assert [(layer.name, layer.runs_as) for layer in report.layers] == [
        ("Net/NNCFConv2d[conv1]/conv2d_0", "BinaryConvolution"),
        (SECOND, "BinaryConvolution"),
    ]
    shown = str(report)
    assert shown.startswith(f"{path} in OpenVINO 20")
    assert "convolutions in 1 bit: 2, promised: 2" in shown
    assert "layers by themselves: 2 of 2 in 1 bit and right" in shown


class Twice(Net):
    """The same layer on an input and on a multiple of it."""

    def forward(self, x: Tensor) -> Any:
        return torch.cat([self.conv1(x), self.conv1(x * 0.5)], 1)


def test_a_convolution_that_computes_the_same_as_another_may_be_computed_once() -> None:
    model = binarize(Twice(), X)
    first, second = (site.activation for site in model.binarization.sites.values())
    with torch.no_grad():  # as both start from one batch
        second.scale.copy_(first.scale + math.log(0.5))
        second.threshold.copy_(first.threshold)
    report = verify(model)
    assert (report.promised, report.found, report.repeated) == (2, 1, 1)
    assert "1 of them computed once with another" in str(report)


def test_without_a_file_one_is_made_and_inputs_can_be_given(model: BinarizedModule) -> None:
    report = verify(model, inputs=[X, -X, torch.zeros_like(X)], layers=False)
    assert report.found == 2
    assert report.layers == ()
    assert not report.path.exists()


def test_openvinos_own_format_is_checked_as_a_whole(model: BinarizedModule, path: Path) -> None:
    save(path, path.with_suffix(".xml"))
    report = verify(model, path.with_suffix(".xml"))
    assert (report.found, report.layers) == (2, ())


def without_functions(proto: onnx.ModelProto) -> None:
    del proto.functions[:]


def with_a_prefix(proto: onnx.ModelProto) -> None:
    proto.CopyFrom(compose.add_prefix(proto, "net/"))


def without_metadata(proto: onnx.ModelProto) -> None:
    del proto.metadata_props[:]


def inlined(proto: onnx.ModelProto) -> None:
    proto.CopyFrom(inliner.inline_local_functions(proto))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without_functions,
            r"^The file calls .*FakeQuantize but no longer defines it, .*opset=",
        ),
        (
            without_metadata,
            r"^The file has no record of what fxbin wrote into it: .*export_onnx wrote",
        ),
        (
            inlined,
            r"^The 4 nodes FakeQuantize of the file have become plain .*\n2 convolutions were pr",
        ),
        (
            with_a_prefix,
            r"model.onnx: OpenVINO.* calls its function FakeQuantize 'net/FakeQuantize' now",
        ),
    ],
)
def test_a_file_that_is_no_more_what_was_exported_is_refused(
    model: BinarizedModule, path: Path, change: Any, message: str
) -> None:
    proto = onnx.load(path)
    change(proto)
    onnx.save(proto, path)
    with pytest.raises(VerificationError, match=message):
        verify(model, path)


def test_a_file_in_standard_operators_is_no_file_to_verify(model: BinarizedModule, tmp_path: Path) -> None:
    export_onnx(model, tmp_path / "model.onnx", operators="standard")
    message = r'model.onnx: it was written with operators="standard" \(fxbin export --operators standard\)'
    with pytest.raises(VerificationError, match=message):
        verify(model, tmp_path / "model.onnx")
    report = compare_runtimes(
        model, tmp_path / "model.onnx", runtimes=["onnxruntime", "openvino"], layers=True
    )
    assert report.is_right
    assert [result.layers for result in report.results] == [2, 0]


def test_what_openvino_compiles_can_be_kept(model: BinarizedModule, path: Path, tmp_path: Path) -> None:
    for _ in range(2):
        report = verify(model, path, layers=False, cache_dir=tmp_path / "cache")
        assert (report.found, report.problems) == (2, ())
    assert len(list((tmp_path / "cache").glob("*.blob"))) == 1
    with pytest.raises(ExportError, match=r"^cache_dir: '.*model.onnx' is a file; give a folder"):
        verify(model, path, cache_dir=path)
    with pytest.raises(ExportError, match=r"^cache_dir: expected the name of a folder, got True"):
        verify(model, path, cache_dir=True)  # type: ignore[arg-type]


def fall_back_to_float(proto: onnx.ModelProto) -> None:
    """The same numbers for one convolution, by operators that OpenVINO runs in float."""
    (index,) = (i for i, node in enumerate(proto.graph.node) if node.name == f"{SECOND}/FakeQuantize")
    node = proto.graph.node[index]
    x, _, threshold, low, high = node.input
    greater = helper.make_node("Greater", [x, threshold], ["above"], name=f"{SECOND}/Greater")
    where = helper.make_node("Where", ["above", high, low], list(node.output), name=f"{SECOND}/Where")
    proto.graph.node.remove(node)
    proto.graph.node.insert(index, where)
    proto.graph.node.insert(index, greater)


def changed_levels(proto: onnx.ModelProto) -> None:
    """One filter of one convolution, 1 % larger."""

    def enlarge(value: NDArray[Any]) -> NDArray[Any]:
        value[3] *= 1.01
        return value

    for index in (3, 4):
        change(proto, "FakeQuantize_1", index, enlarge)


def flipped_weight(proto: onnx.ModelProto) -> None:
    def flip(value: NDArray[Any]) -> NDArray[Any]:
        value[0, 0, 0, 0] *= -1
        return value

    change(proto, "FakeQuantize_1", 0, flip)


def raised_threshold(proto: onnx.ModelProto) -> None:
    """The next number up, which only values at the threshold see."""

    def raise_one(value: NDArray[Any]) -> NDArray[Any]:
        value[0, 5] = np.nextafter(value[0, 5], np.float32(9))
        return value

    for index in (1, 2):
        change(proto, "FakeQuantize", index, raise_one)


def change(proto: onnx.ModelProto, node_name: str, index: int, function: Any) -> None:
    """Give one convolution another constant."""
    (node,) = (node for node in proto.graph.node if node.name == f"{SECOND}/{node_name}")
    (old,) = (tensor for tensor in proto.graph.initializer if tensor.name == node.input[index])
    new = function(numpy_helper.to_array(old).copy())
    name = f"changed {node_name} {index}"
    proto.graph.initializer.append(numpy_helper.from_array(new, name))
    node.input[index] = name


@pytest.mark.parametrize("tamper", [changed_levels, flipped_weight, raised_threshold])
def test_wrong_numbers_are_found_and_the_layer_is_named(
    model: BinarizedModule, path: Path, tamper: Any
) -> None:
    proto = onnx.load(path)
    tamper(proto)
    onnx.save(proto, path)
    with pytest.raises(
        VerificationError, match=f"The first layer that is off: {SECOND[:3]}.*conv2"
    ) as caught:
        verify(model, path)
    report = caught.value.report
    assert isinstance(report, VerifyReport)
    assert report.found == 2
    assert [layer.is_right for layer in report.layers] == [True, False]
    assert report.layers[1].difference > report.layers[1].allowed


def test_a_convolution_that_falls_back_to_float_is_found(model: BinarizedModule, path: Path) -> None:
    proto = onnx.load(path)
    fall_back_to_float(proto)
    onnx.save(proto, path)
    with pytest.raises(VerificationError) as caught:
        verify(model, path)
    message = str(caught.value)
    assert "2 convolutions were promised in 1 bit, OpenVINO runs 1 in 1 bit." in message
    assert f"The first layer that is off: {SECOND}." in message
    assert "| Convolution |" in message
    assert caught.value.report.outputs[0].is_right
    with pytest.raises(VerificationError, match="OpenVINO runs 1 in 1 bit"):
        verify(model, path, layers=False)


def test_wrong_numbers_of_the_whole_are_found_without_the_layers(model: BinarizedModule, path: Path) -> None:
    proto = onnx.load(path)
    changed_levels(proto)
    onnx.save(proto, path)
    with pytest.raises(VerificationError, match=r"Not what PyTorch computes: 'output', by up to .*e-0"):
        verify(model, path, layers=False)


def test_a_file_that_crashes_openvino_is_an_error(model: BinarizedModule, tmp_path: Path) -> None:
    x = write_conv(tmp_path / "raw.onnx", channels=8, group=8, s=1.0)
    sample = torch.from_numpy(x)
    with pytest.raises(VerificationError, match=r"raw.onnx: OpenVINO crashed: "):
        verify(binarize(nn.Conv2d(8, 8, 3, groups=8), sample), tmp_path / "raw.onnx", [sample])


def test_the_file_of_another_model_is_found(path: Path) -> None:
    x = X[:, :4]
    with pytest.raises(VerificationError, match=r"the file takes 'x' of shape \[1, 8, 9, 9\], got \[1, 4"):
        verify(binarize(nn.Conv2d(4, 8, 3), x), path)
    with pytest.raises(VerificationError, match="not in the file"):
        verify(binarize(nn.Conv2d(8, 8, 3), X), path)


def test_mistakes_of_the_caller_are_named(model: BinarizedModule, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"path: the file '.*none.onnx' does not exist"):
        verify(model, tmp_path / "none.onnx")
    with pytest.raises(ExportError, match=r"inputs: sample 1 is a ndarray without tensors; expected a"):
        verify(model, inputs=[X, X.numpy()])  # type: ignore[list-item]
    with pytest.raises(ExportError, match=r"inputs: expected a list of samples.*write \[x\]"):
        verify(model, inputs=X)  # type: ignore[arg-type]
    with pytest.raises(TransformError, match=r"fxbin.openvino.verify: expected a model"):
        verify(Net())


def test_a_missing_package_is_named(model: BinarizedModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxbin.export.packages.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r'openvino not found: pip install "fxbin\[openvino\]"'):
        verify(model)


def test_differences_of_infinities_and_nan() -> None:
    inf, nan = np.inf, np.nan
    assert largest_difference(np.array([1.0, inf, nan]), np.array([1.5, inf, nan])) == 0.5
    for found in (inf, nan, -inf):
        assert largest_difference(np.array([found]), np.array([1.0])) == inf
    assert largest_difference(np.zeros((2, 1)), np.zeros((1, 2))) == inf
    assert allowed_difference(np.array([-8.0, inf]), 1e-4) == 8e-4
    assert allowed_difference(np.array([0.5]), 1e-4) == 1e-4


@pytest.mark.parametrize("tolerance", [0, -1.0, float("nan"), float("inf"), True, "1e-4"])
@pytest.mark.parametrize("function", [verify, compare_runtimes])
def test_a_tolerance_is_a_number_above_0(model: BinarizedModule, function: Any, tolerance: Any) -> None:
    with pytest.raises(ExportError, match=r"^tolerance: expected a number above 0, such as 1e-4, got "):
        function(model, tolerance=tolerance)
