from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import ExportError
from fxbin.export import export_onnx
from fxbin.openvino import save
from fxbin.openvino_worker.layer_types import layer_types
from tests.binarizing import binarize

X = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution in full precision, then two in 1 bit with a residual sum, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 32)
        self.conv1, self.bn = nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        self.fc = nn.Linear(32, 64)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = x + self.conv2(self.bn(self.conv1(x)).relu())
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def model() -> BinarizedModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return binarize(Net(), X)


@pytest.fixture(scope="module")
def path(model: BinarizedModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(model, path)
    return path


def check(compiled: Any, model: BinarizedModule, x: Tensor = X, tolerance: float = 1e-4) -> list[str]:
    with torch.no_grad():
        expected = model(x)
    np.testing.assert_allclose(compiled([x.numpy()])[0], expected, rtol=0, atol=tolerance)
    kinds = layer_types(compiled)
    assert kinds.count("BinaryConvolution") == 2
    return kinds


def test_a_model_and_its_file_compile_with_pytorchs_numbers(model: BinarizedModule, path: Path) -> None:
    check(fxbin.openvino.compile(model), model)
    compiled = fxbin.openvino.compile(path, threads=1, properties={"PERF_COUNT": "YES"})
    check(compiled, model)
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("PERF_COUNT") == "YES"


def test_what_is_compiled_can_be_kept_and_loaded_again(
    model: BinarizedModule, path: Path, tmp_path: Path
) -> None:
    loaded = []
    for _ in range(2):
        compiled = fxbin.openvino.compile(path, cache_dir=tmp_path / "new" / "cache")
        check(compiled, model)
        loaded.append(compiled.get_property("LOADED_FROM_CACHE"))
    assert loaded == [False, True]


def test_a_file_that_has_lost_what_was_written_is_refused(path: Path, tmp_path: Path) -> None:
    proto = onnx.load(path)
    del proto.functions[:]
    onnx.save(proto, tmp_path / "model.onnx")
    for function in (fxbin.openvino.compile, lambda file: save(file, tmp_path / "model.xml")):
        with pytest.raises(ExportError, match=r"model.onnx: .*FakeQuantize but no longer defines it"):
            function(tmp_path / "model.onnx")


def test_open_shapes_are_fixed_by_example_inputs(model: BinarizedModule, tmp_path: Path) -> None:
    export_onnx(model, tmp_path / "open.onnx", dynamic_batch=True)
    with pytest.raises(
        ExportError, match=r"example_inputs: the file leaves shapes open \(x \[\?,3,20,20\]\)"
    ):
        fxbin.openvino.compile(tmp_path / "open.onnx")
    compiled = fxbin.openvino.compile(tmp_path / "open.onnx", (X[:1],))
    check(compiled, model, X[:1])


def test_a_saved_model_has_one_bit_constants(model: BinarizedModule, path: Path, tmp_path: Path) -> None:
    saved = save(path, tmp_path / "saved.xml")
    assert {file.name for file in tmp_path.iterdir()} == {"saved.xml", "saved.bin"}
    constants = (tmp_path / "saved.bin").stat().st_size
    assert constants < 2 * 32 * 32 * 9 / 8 + (3 * 32 + 32 * 64) * 4 + 4000
    assert saved.size == constants + saved.path.stat().st_size
    assert str(saved).endswith("MB), remaining layers: float32")
    check(fxbin.openvino.compile(saved.path), model)


def test_calibration_makes_the_remaining_layers_int8(model: BinarizedModule, tmp_path: Path) -> None:
    saved = save(model, tmp_path / "int8.xml", calibration=[X, (X.flip(0),)])
    assert saved.calibrated_on == 2
    assert str(saved).endswith("int8 from 2 samples")
    compiled = fxbin.openvino.compile(saved.path)
    check(compiled, model, tolerance=0.3)
    precisions = [
        operator.get_rt_info()["runtimePrecision"].astype(str)
        for operator in compiled.get_runtime_model().get_ops()
        if "FullyConnected" in operator.get_rt_info()["layerType"].astype(str)
    ]
    assert set(precisions) <= {"u8", "i8"}
    assert precisions
    again = save(saved.path, tmp_path / "again.xml")  # its own format can be read, too
    assert again.size == saved.size


class Concatenated(nn.Module):
    """A concatenation in front of a binarizer, as in a U-Net, beside a layer that becomes int8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ConvTranspose2d(3, 16, 2, 2)
        self.conv, self.join = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(32, 32, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        return self.join(torch.cat([self.conv(x), x], 1).relu()).mean((2, 3))


def test_a_concatenation_in_front_of_a_binarizer_survives_int8(tmp_path: Path) -> None:
    model = binarize(Concatenated(), X)
    saved = save(model, tmp_path / "model.xml", calibration=[X])
    kinds = check(fxbin.openvino.compile(saved.path), model, tolerance=0.3)
    assert "Deconvolution" in kinds


def test_what_plain_operators_binarize_stays_in_float(tmp_path: Path) -> None:
    x = X[:, :1].repeat(1, 16, 1, 1)
    depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, groups=16), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU())
    model = binarize(nn.Sequential(depthwise, nn.Flatten(), nn.Linear(16 * 18 * 18, 8)), x)
    saved = save(model, tmp_path / "model.xml", calibration=[x])
    compiled = fxbin.openvino.compile(saved.path).get_runtime_model()
    infos = [operator.get_rt_info() for operator in compiled.get_ops()]
    precisions = {info["layerType"].astype(str): info["runtimePrecision"].astype(str) for info in infos}
    assert precisions["BinaryConvolution"] == "u1"
    assert precisions["Convolution"] == "f32"
    assert "u8" in {precision for kind, precision in precisions.items() if "FullyConnected" in kind}


def test_an_old_file_survives_a_failure(path: Path, tmp_path: Path) -> None:
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_text("old")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ExportError, match=r"^OpenVINO stopped: Model can.t be parsed"):
        save(broken, tmp_path / "model.xml")
    assert (tmp_path / "model.xml").read_text() == (tmp_path / "model.bin").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("model.onnx", "out.onnx"),
            r"path: 'out.onnx': expected a name that ends in .xml, such as 'out.xml'",
        ),
        (("model.onnx", "."), r"path: '.' is a folder; give the name of a file, such as model.xml"),
        (("model.onnx", "none/out.xml"), r"path: the folder 'none' does not exist"),
        (
            ("none.onnx", "out.xml"),
            r"path: the file 'none.onnx' does not exist; fxbin.export_onnx writes one",
        ),
        (("model.pt", "out.xml"), r"path: 'model.pt': expected a file that ends in .onnx or .xml"),
        ((7, "out.xml"), r"expected a model that fxbin.transform returned, or a path; got int"),
    ],
)
def test_wrong_arguments_are_named(
    path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, message: str
) -> None:
    monkeypatch.chdir(path.parent)
    with pytest.raises(ExportError, match=message):
        save(*arguments)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([], r"calibration: expected samples, got none"),
        (X, r"calibration: expected a list of samples, got a Tensor; write \[x\]"),
        ([X, X.numpy()], r"calibration: sample 1 is a ndarray without tensors; expected a tensor or a tuple"),
        ([X, X * torch.nan], r"calibration: sample 1 has NaN or infinite values, .* leave it out"),
        ([X, X[:1]], r"sample 1 has the shapes \[\(1, 3, 20, 20\)\], the first \[\(2, .*drop_last=True"),
        ([(X, torch.arange(2))], r"OpenVINO: the file takes 1 tensors \(x\), got 2"),
    ],
)
def test_what_is_wrong_with_calibration_samples_is_named(
    path: Path, tmp_path: Path, calibration: Any, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        save(path, tmp_path / "model.xml", calibration=calibration)
    assert not list(tmp_path.iterdir())


def test_nothing_is_printed(path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(path, tmp_path / "model.xml", calibration=[X])
    assert capfd.readouterr() == ("", "")
