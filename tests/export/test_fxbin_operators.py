"""Files with ``operators="fxbin"``: in 1 bit where fxbin's operators are registered, right everywhere."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.engine.library import Engine
from fxbin.errors import ExportError, VerificationError
from fxbin.export import ExportMode, ExportReport, export_onnx
from fxbin.export.file_record import FileRecord, read_record
from tests.binarizing import as_if_trained, binarize
from tests.engine.onnx_files import operators_run
from tests.one_conv import CALL_SITES, OneConv
from tests.transforming import config
from tests.zoo_cases import case

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

OWN = "BinaryConv2d"


def exported(model: BinarizedModule, path: Path, *inputs: Tensor, **options: Any) -> ExportReport:
    """A file of `model` in fxbin's operators."""
    return export_onnx(model, path, inputs, operators="fxbin", **options)


def in_one_bit(path: Path, x: Tensor, level: str = "ORT_ENABLE_ALL") -> tuple[Any, Counter[str]]:
    """The first output, and how many nodes of each operator ran, with fxbin's operators registered."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    fxbin.register_custom_ops(options)
    (found, *_), ran = operators_run(path, {"x": x.numpy()}, options)
    return found, ran


def by_definition(path: Path, x: Tensor) -> tuple[Any, Counter[str]]:
    """The same without them."""
    (found, *_), ran = operators_run(path, {"x": x.numpy()})
    return found, ran


def count_own(ran: Counter[str]) -> int:
    """How many of fxbin's operators there are."""
    return sum(count for name, count in ran.items() if name.startswith(OWN))


def assert_close(found: Any, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Within 1e-5 of the output's size."""
    assert found.shape == tuple(expected.shape)
    assert found.dtype == expected.numpy().dtype
    wanted = expected.double().numpy()
    difference = np.abs(found.astype(np.float64) - wanted).max(initial=0)
    assert difference <= tolerance * np.abs(wanted).max(initial=0)


def assert_runs(model: BinarizedModule, path: Path, *inputs: Tensor, count: int) -> Counter[str]:
    """Both ways give PyTorch's numbers, `count` nodes in 1 bit with the operators and none without."""
    names: Counter[str] = Counter()
    for x in inputs:
        with torch.no_grad():
            expected = model(x.clone())
        found, names = in_one_bit(path, x)
        assert count_own(names) == count, names
        assert "Conv" not in names
        assert_close(found, expected)
        found, ran = by_definition(path, x)
        assert count_own(ran) == 0
        assert_close(found, expected)
    return names


@pytest.mark.parametrize("mode", ["xnor", "dorefa"])
@pytest.mark.parametrize(
    ("sizes", "options"),
    CALL_SITES,
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_every_kind_of_call_site(
    built: Engine, tmp_path: Path, sizes: tuple[Any, ...], options: dict[str, Any], mode: str
) -> None:
    x = torch.randn(2, sizes[0], 9, 10)
    model = binarize(OneConv(*sizes, **options), x, mode)
    report = exported(model, tmp_path / "model.onnx", x)
    assert report.count(ExportMode.ONE_BIT) == 1
    assert [site.reason for site in report.sites] == [""]
    names = assert_runs(model, tmp_path / "model.onnx", x, count=1)
    assert names["BinaryConv2dRelu"] == 1


class Blocks(nn.Module):
    """Residual blocks with BatchNorm, ReLU and PReLU, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1, bias=False) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(4))
        self.prelu, self.fc = nn.PReLU(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = F.relu(self.norms[0](self.convs[0](x)))
        x = F.relu(self.norms[1](self.convs[1](y)) + x)
        y = self.prelu(self.norms[2](self.convs[2](x)))
        x = x + self.norms[3](self.convs[3](y))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


@pytest.mark.parametrize("opset", [18, 25])
def test_a_network_for_any_batch(built: Engine, tmp_path: Path, opset: int) -> None:
    x = torch.randn(1, 3, 12, 12)
    model = binarize(Blocks(), x)
    path = tmp_path / "model.onnx"
    report = exported(model, path, x, dynamic_batch=True, opset=opset)
    assert report.operators == "fxbin"
    names = assert_runs(model, path, x, torch.randn(5, 3, 12, 12), torch.randn(0, 3, 12, 12), count=5)
    own = {name: count for name, count in names.items() if name.startswith(OWN)}
    assert own == {
        "BinaryConv2dRelu": 2,
        "BinaryConv2dAddRelu": 1,
        "BinaryConv2dPRelu": 1,
        "BinaryConv2dAdd": 1,
    }
    # Between operators nothing is transposed.
    graph = onnx.load(path).graph
    assert [node.op_type for node in graph.node].count("Transpose") == 2


class Limited(Blocks):
    """Activations that limit values on both sides, as functions and as layers."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardtanh(self.stem(x))
        y = F.relu6(5 * self.norms[0](self.convs[0](x)))
        x = F.hardtanh(self.norms[1](self.convs[1](y)) + x)
        y = F.hardtanh(self.norms[2](self.convs[2](x)), inplace=True)
        x = F.relu6(x + self.norms[3](self.convs[3](y)), inplace=True)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def test_activations_that_limit_values(built: Engine, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 12, 12)
    model = binarize(Limited(), x)
    path = tmp_path / "model.onnx"
    exported(model, path, x)
    names = assert_runs(model, path, x, count=5)
    own = {name: count for name, count in names.items() if name.startswith(OWN)}
    assert own == {
        "BinaryConv2d": 1,
        "BinaryConv2dAddHardtanh": 1,
        "BinaryConv2dHardtanh": 2,
        "BinaryConv2dAddRelu6": 1,
    }


def test_weights_are_bits_and_once_in_the_file(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(24, 24, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(self.conv(x).relu() + x)
            return y

    x = torch.randn(2, 24, 6, 6)
    model = binarize(Twice(), x)
    path = tmp_path / "model.onnx"
    exported(model, path, x)
    assert_runs(model, path, x, count=2)
    constants = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    bits = [name for name in constants if name.endswith("weight_bits")]
    assert bits == ["packed.conv.weight_bits"]
    assert list(constants[bits[0]].dims) == [24, 9, 3]
    assert max(np.prod(tensor.dims) for tensor in constants.values()) == 24 * 9 * 3


def test_equal_bytes_of_other_shapes_are_other_weights(built: Engine, tmp_path: Path) -> None:
    layers = nn.Conv2d(8, 16, 3), nn.Conv2d(16, 8, 3)
    for layer in layers:
        nn.init.ones_(layer.weight)
    x = torch.randn(1, 8, 9, 9)
    model = binarize(nn.Sequential(*layers), x)
    export_onnx(model, tmp_path / "model.onnx", (x,), operators="fxbin", input_names=["x"])
    assert_runs(model, tmp_path / "model.onnx", x, count=2)


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC"])
def test_every_level_of_optimization(built: Engine, tmp_path: Path, level: str) -> None:
    x = torch.randn(2, 3, 12, 12)
    model = binarize(Blocks(), x)
    exported(model, tmp_path / "model.onnx", x)
    found, ran = in_one_bit(tmp_path / "model.onnx", x, level)
    assert count_own(ran) == 5
    with torch.no_grad():
        assert_close(found, model(x))


def test_weights_in_a_second_file(built: Engine, tmp_path: Path) -> None:
    x = torch.randn(1, 64, 6, 6)
    model = binarize(OneConv(64, 64, 3), x)
    exported(model, tmp_path / "model.onnx", x, external_data=True)
    assert (tmp_path / "model.onnx.data").exists()
    assert_runs(model, tmp_path / "model.onnx", x, count=1)


def test_a_picture_without_a_batch(built: Engine, tmp_path: Path) -> None:
    x = torch.randn(8, 9, 9)
    model = binarize(OneConv(8, 16, 3), x)
    exported(model, tmp_path / "model.onnx", x)
    assert_runs(model, tmp_path / "model.onnx", x, count=1)


class Added(nn.Module):
    """A convolution of a mean over the batch, and what that is added to."""

    def __init__(self, around: Callable[[Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        self.conv, self.around = nn.Conv2d(6, 6, 3, padding=1), around

    def forward(self, x: Tensor) -> Tensor:
        return self.around(x, self.conv)


def mean_is_added(x: Tensor, conv: nn.Module) -> Tensor:
    """The residual broadcasts to the output."""
    y: Tensor = conv(x) + x.mean(0, keepdim=True)
    return y


def mean_is_convolved(x: Tensor, conv: nn.Module) -> Tensor:
    """The output broadcasts to what is added."""
    y: Tensor = conv(x.mean(0, keepdim=True)) + x
    return y


def written_after(x: Tensor, conv: nn.Module) -> Tensor:
    """What the convolution gave is written into."""
    y = conv(x)
    z = conv(y)
    y.mul_(2)
    total: Tensor = z + conv(y)
    return total


@pytest.mark.parametrize(
    ("around", "count"), [(mean_is_added, 1), (mean_is_convolved, 1), (written_after, 3)]
)
def test_sums_and_writes(
    built: Engine, tmp_path: Path, around: Callable[[Tensor, nn.Module], Tensor], count: int
) -> None:
    x = torch.randn(1, 6, 9, 9)
    model = binarize(Added(around), x)
    exported(model, tmp_path / "model.onnx", x, dynamic_batch=True)
    assert_runs(model, tmp_path / "model.onnx", x, torch.randn(3, 6, 9, 9), count=count)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float16, 2e-3)])
def test_other_dtypes_are_compared_in_front(
    built: Engine, tmp_path: Path, dtype: torch.dtype, tolerance: float
) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = (self.second(self.first(x).relu()) + x).relu()
            return y

    x = torch.randn(2, 8, 9, 9, dtype=dtype)
    model = binarize(Residual().to(dtype), x)
    path = tmp_path / "model.onnx"
    assert exported(model, path, x).count(ExportMode.ONE_BIT) == 2
    with torch.no_grad():
        expected = model(x)
    for run, count in ((in_one_bit, 2), (by_definition, 0)):
        found, ran = run(path, x)
        assert count_own(ran) == count
        assert_close(found, expected, tolerance)


class LeftOut(nn.Module):
    """A convolution that nothing reads, one in full precision later, and one in 1 bit."""

    def __init__(self) -> None:
        super().__init__()
        self.unread, self.full, self.bits = (nn.Conv2d(8, 8, 3) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        self.unread(x)
        y: Tensor = self.bits(self.full(x))
        return y


def test_the_report_says_what_became_of_each_call_site(built: Engine, tmp_path: Path) -> None:
    x = torch.randn(1, 8, 9, 9)
    model = binarize(LeftOut(), x)
    _, full, _ = model.binarization.sites
    model.binarization.enable(activations=False, weights=False, sites=[full])
    with pytest.warns(UserWarning, match="1 of 3 selected call sites are not fully binarized"):
        report = exported(model, tmp_path / "model.onnx", x)
    assert [(site.mode, site.enabled) for site in report.sites] == [
        (ExportMode.LEFT_OUT, True),
        (ExportMode.FULL_PRECISION, False),
        (ExportMode.ONE_BIT, True),
    ]
    found, ran = in_one_bit(tmp_path / "model.onnx", x)
    assert count_own(ran) == 1
    with torch.no_grad():
        assert_close(found, model(x))


def test_what_the_engine_does_not_compute_is_in_float(built: Engine, tmp_path: Path) -> None:
    x = torch.randn(2, 8, 9, 9)
    model = binarize(OneConv(8, 16, 3), x, weight_scale_axis="input")
    report = exported(model, tmp_path / "model.onnx", x)
    assert [(site.mode, site.reason) for site in report.sites] == [
        (ExportMode.FLOAT, "its weight scale varies inside a filter")
    ]
    found, ran = in_one_bit(tmp_path / "model.onnx", x)
    assert count_own(ran) == 0
    with torch.no_grad():
        assert_close(found, model(x))


@pytest.mark.parametrize(
    ("library", "name"),
    [("torchvision", "squeezenet1_1"), ("timm", "lcnet_035"), ("pytorchcv", "shakedropresnet20_svhn")],
)
@pytest.mark.filterwarnings("ignore")
def test_models_of_the_zoos(built: Engine, tmp_path: Path, library: str, name: str) -> None:
    found = case(library, name)
    (x,) = found.inputs(1)
    model = as_if_trained(fxbin.transform(found.model, config(*x.shape)))
    path = tmp_path / "model.onnx"
    report = exported(model, path, x, input_names=["x"])
    assert report.count(ExportMode.ONE_BIT) == len(report.sites)
    with torch.no_grad():
        expected = model(x)
    expected = expected if isinstance(expected, Tensor) else expected[0]
    for run, count in ((in_one_bit, len(report.sites)), (by_definition, 0)):
        output, ran = run(path, x)
        assert count_own(ran) == count
        # As in tests/deployment/test_zoo_models.py: single values may fall on the other side of a threshold.
        assert np.abs(output - expected.numpy()).mean() <= 5e-3 * expected.abs().max()


def test_weights_cannot_be_float(tmp_path: Path) -> None:
    x = torch.randn(1, 8, 9, 9)
    model = binarize(OneConv(8, 16, 3), x)
    with pytest.raises(ExportError, match=r'weights: got "float", but .* read bits; leave weights out'):
        exported(model, tmp_path / "model.onnx", x, weights="float")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def model() -> BinarizedModule:
    """Five convolutions."""
    return binarize(Blocks(), torch.randn(1, 3, 12, 12))


@pytest.fixture
def path(model: BinarizedModule, tmp_path: Path) -> Path:
    """A file of it."""
    exported(model, tmp_path / "model.onnx", torch.randn(1, 3, 12, 12))
    return tmp_path / "model.onnx"


def test_every_input_of_every_function_is_used(path: Path) -> None:
    for function in onnx.load(path).functions:
        assert set(function.input) <= {name for node in function.node for name in node.input}


def test_a_file_says_what_it_holds(path: Path, tmp_path: Path) -> None:
    assert read_record(path) == FileRecord("fxbin", calls=5, lost="")
    from onnx import inliner

    onnx.save(inliner.inline_local_functions(onnx.load(path)), tmp_path / "inlined.onnx")
    record = read_record(tmp_path / "inlined.onnx")
    assert record is not None
    assert "The file calls 0 of its 5 operators of fxbin, and the others run in float" in record.lost
    proto = onnx.load(path)
    del proto.functions[:]
    onnx.save(proto, tmp_path / "undefined.onnx")
    record = read_record(tmp_path / "undefined.onnx")
    assert record is not None
    assert "The file calls fxbin::BinaryConv2dAdd but no longer defines it" in record.lost


def test_the_onnx_reference_runs_the_definitions(path: Path, model: BinarizedModule) -> None:
    from onnx.reference import ReferenceEvaluator

    x = torch.randn(1, 3, 12, 12)
    (found,) = ReferenceEvaluator(str(path)).run(None, {"x": x.numpy()})
    with torch.no_grad():
        assert_close(found, model(x))


def test_runtimes_are_compared_with_it(built: Engine, path: Path, model: BinarizedModule) -> None:
    report = fxbin.compare_runtimes(model, path, runtimes=["onnxruntime"])
    assert report.is_right, str(report)
    report = fxbin.compare_runtimes(model, path, runtimes=["onnxruntime"], layers=True)
    assert not report.is_right
    assert "single layers cannot be compared; leave layers out" in str(report)


def test_openvino_is_told_not_to_take_it(path: Path, model: BinarizedModule) -> None:
    pytest.importorskip("openvino")
    import fxbin.openvino

    message = r'model\.onnx: it was written with operators="fxbin" .*, which OpenVINO does not run'
    with pytest.raises(VerificationError, match=message):
        fxbin.openvino.verify(model, path)
    with pytest.raises(ExportError, match=message):
        fxbin.openvino.compile(path)
