"""One model in every runtime: the report if they agree, and if they do not."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.engine.library import Engine
from fxbin.errors import EngineError, ExportError
from fxbin.export import export_onnx
from fxbin.runtimes import comparison
from fxbin.runtimes.report import Runtime
from tests.binarizing import as_if_trained, binarize
from tests.openvino.test_verify import Net, changed_levels, fall_back_to_float
from tests.transforming import config

X = torch.randn(1, 8, 9, 9, generator=torch.Generator().manual_seed(0))
SECOND = "Net/NNCFConv2d[conv2]/conv2d_0"


@pytest.fixture(scope="module")
def model() -> BinarizedModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return binarize(Net(), X)


def test_all_runtimes_agree_and_the_report_says_so(
    built: Engine, model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def remember(module: BinarizedModule) -> None:  # a real one needs a compiler
        compiled.append(module)

    monkeypatch.setattr(BinarizedModule, "compile", remember)
    report = fxbin.compare_runtimes(model, inputs=[X, -X], layers=True)
    assert len(compiled) == 1
    assert report.is_right
    assert [result.runtime for result in report.results] == ["compiled", "engine", "onnxruntime", "openvino"]
    assert [result.layers for result in report.results] == [2, 2, 2, 2]
    assert [result.outputs[0].name for result in report.results] == ["output"] * 4
    assert all(result.outputs[0].difference < 1e-5 for result in report.results)
    assert str(report).startswith("compiled beside PyTorch eager\n")
    assert str(report).count("layers: 2 of 2 right") == 4


# Dynamo itself makes the object it warns of.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs the C++ compiler g++")
def test_what_torch_compile_makes_of_it_is_compared(model: BinarizedModule) -> None:
    (result,) = fxbin.compare_runtimes(model, inputs=[X, -X], runtimes=["compiled"], layers=True).results
    assert result.is_right, result.problem
    assert (result.layers, len(result.outputs)) == (2, 1)
    torch.compiler.reset()


def test_layers_of_a_file_with_its_weights_in_a_second_one_are_compared(
    model: BinarizedModule, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(model, path, external_data=True)
    assert path.with_name("model.onnx.data").exists()
    report = fxbin.compare_runtimes(model, path, runtimes=["onnxruntime", "openvino"], layers=True)
    assert report.is_right, str(report)
    assert [result.layers for result in report.results] == [2, 2]


def changed_file(model: BinarizedModule, folder: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    path = folder / "model.onnx"
    export_onnx(model, path, weights="float")
    proto = onnx.load(path)
    change(proto)
    onnx.save(proto, path)
    return path


def test_the_first_layer_that_differs_is_named(model: BinarizedModule, tmp_path: Path) -> None:
    path = changed_file(model, tmp_path, changed_levels)
    report = fxbin.compare_runtimes(model, path, runtimes=["onnxruntime", "openvino"], layers=True)
    assert not report.is_right
    assert [result.first_difference for result in report.results] == [SECOND, SECOND]
    assert str(report).count(f"the first layer that differs: {SECOND}") == 2


def test_a_layer_that_openvino_runs_in_float_is_not_right(model: BinarizedModule, tmp_path: Path) -> None:
    path = changed_file(model, tmp_path, fall_back_to_float)
    in_onnxruntime, in_openvino = fxbin.compare_runtimes(
        model, path, runtimes=["onnxruntime", "openvino"], layers=False
    ).results
    assert in_onnxruntime.is_right
    assert not in_openvino.is_right
    assert "2 convolutions were promised in 1 bit, OpenVINO runs 1" in in_openvino.problem


class InPlace(nn.Module):
    """What a convolution computes is changed in place behind it, and so is the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.first(x)
        y[:, :2].mul_(0.5)
        return {"y": self.second(y.add_(x.abs_())), "sum": y.sum((2, 3))}


def test_values_that_are_changed_in_place_are_compared_as_they_were() -> None:
    report = fxbin.compare_runtimes(
        binarize(InPlace(), X), inputs=[X.clone()], runtimes=["onnxruntime", "openvino"], layers=True
    )
    assert report.is_right, str(report)
    assert [[output.name for output in result.outputs] for result in report.results] == [["y", "sum"]] * 2
    assert [result.layers for result in report.results] == [2, 2]


class Sum(nn.Module):
    """One binarized convolution out of two, and an output that is a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 9, 3), nn.Conv2d(9, 8, 1)

    def forward(self, x: Tensor) -> Any:
        return self.second(self.first(nn.functional.pad(x, (1, 0, 2, 3)))), x.mean()


def test_an_output_without_axes_and_padding_on_one_side_are_right() -> None:
    settings = config(1, 8, 9, 9, target_scopes=["Sum/NNCFConv2d[second]/conv2d_0"])
    model = as_if_trained(fxbin.transform(Sum(), settings))
    assert len(model.binarization.sites) == 1
    report = fxbin.compare_runtimes(model, runtimes=["onnxruntime", "openvino"], layers=True)
    assert report.is_right, str(report)
    assert [result.layers for result in report.results] == [1, 1]


def test_what_a_runtime_refuses_is_in_the_report(model: BinarizedModule, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    other = binarize(nn.Conv2d(8, 4, 3), X)
    export_onnx(other, path)
    report = fxbin.compare_runtimes(model, path, runtimes=["onnxruntime", "openvino"], layers=True)
    in_onnxruntime, in_openvino = report.results
    assert in_onnxruntime.outputs == ()
    assert in_onnxruntime.problem.endswith("Net/NNCFConv2d[conv1]/conv2d_0 is not in the file")
    assert in_openvino.first_difference == "Net/NNCFConv2d[conv1]/conv2d_0"
    assert in_openvino.outputs[0].difference == float("inf")
    assert in_onnxruntime.problem in str(report)
    path.write_bytes(b"?")
    report = fxbin.compare_runtimes(model, path, runtimes=["onnxruntime", "openvino"])
    assert [result.outputs for result in report.results] == [(), ()]
    assert not any(result.is_right for result in report.results)


def test_what_a_refused_file_has_lost_is_in_the_report(model: BinarizedModule, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    proto = onnx.load(path)
    del proto.functions[:]
    onnx.save(proto, path)
    report = fxbin.compare_runtimes(model, path, runtimes=["onnxruntime"])
    assert "FakeQuantize but no longer defines it" in report.results[0].problem


def test_names_of_the_file_are_its_own(tmp_path: Path) -> None:
    model = binarize(nn.Conv2d(8, 4, 3), X)
    export_onnx(model, tmp_path / "model.onnx", input_names=["picture"], output_names=["logits"])
    report = fxbin.compare_runtimes(model, tmp_path / "model.onnx", runtimes=["onnxruntime", "openvino"])
    assert report.is_right
    assert [result.outputs[0].name for result in report.results] == ["logits", "logits"]


def test_a_model_in_float64_is_compared_where_a_runtime_takes_it(built: Engine, tmp_path: Path) -> None:
    model, inputs = binarize(nn.Conv2d(8, 4, 3), X).double(), [X.double()]
    (result,) = fxbin.compare_runtimes(model, inputs=inputs, runtimes=["onnxruntime"]).results
    assert result.is_right
    export_onnx(model, tmp_path / "model.onnx")
    (result,) = fxbin.compare_runtimes(
        model, tmp_path / "model.onnx", inputs, runtimes=["onnxruntime"]
    ).results
    assert "NOT_IMPLEMENTED" in result.problem


def forms_in_onnxruntime(model: BinarizedModule, path: Path | None = None, *, layers: bool = False) -> str:
    """Which form of the model was compared; it must be right."""
    report = fxbin.compare_runtimes(model, path, [X], runtimes=["onnxruntime"], layers=layers)
    (result,) = report.results
    assert result.is_right, str(report)
    assert (result.layers > 0) is layers
    assert not result.form or f"onnxruntime ({result.form}) beside PyTorch eager" in str(report)
    return result.form


def test_onnxruntime_is_compared_in_1_bit_and_the_report_says_so(
    built: Engine, model: BinarizedModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_1_bit, in_float = "fxbin's operators, in 1 bit", "OpenVINO operators, in float"
    assert forms_in_onnxruntime(model) == in_1_bit
    assert forms_in_onnxruntime(model, layers=True) == f"{in_1_bit}; layers: {in_float}"
    for operators, form in (
        ("fxbin", in_1_bit),
        ("openvino", in_float),
        ("standard", "standard operators, in float"),
    ):
        export_onnx(model, tmp_path / "model.onnx", operators=operators)  # type: ignore[arg-type]
        assert forms_in_onnxruntime(model, tmp_path / "model.onnx") == form
    monkeypatch.setattr(comparison, "engine_or_why_not", lambda: EngineError("no compiler"))
    assert forms_in_onnxruntime(model, layers=True) == in_float


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
def test_a_program_is_compared_in_pytorch_only(built: Engine, model: BinarizedModule, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    runtimes: list[Runtime] = ["engine", "onnxruntime", "openvino"]
    fxbin.export_program(model, path, (X,))
    report = fxbin.compare_runtimes(model, path, [X, -X], runtimes=runtimes, layers=True)
    engine, *others = report.results
    assert (engine.is_right, engine.layers, engine.form) == (True, 0, "the program in the file"), str(report)
    for other in others:
        assert not other.is_right
        assert other.problem.endswith("which only the engine runs; give an .onnx file")
    wrong = copy.deepcopy(model)
    for site in wrong.binarization.sites.values():
        site.activation.threshold.data += 1
    assert not fxbin.compare_runtimes(wrong, path, [X], runtimes=["engine"]).is_right
    path.write_bytes(b"no program")
    (result,) = fxbin.compare_runtimes(model, path, [X], runtimes=["engine"]).results
    assert "PyTorch cannot read this program" in result.problem


@pytest.mark.parametrize(
    ("runtimes", "got"), [(["tvm"], "'tvm'"), ([], "none"), ("onnxruntime", "'onnxruntime'")]
)
def test_runtimes_that_are_not_known_are_named(model: BinarizedModule, runtimes: Any, got: str) -> None:
    with pytest.raises(
        ExportError, match=f"expected a list of some of compiled, engine, onnxruntime, openvino, got {got}"
    ):
        fxbin.compare_runtimes(model, runtimes=runtimes)


def test_only_onnx_files_are_taken(model: BinarizedModule) -> None:
    with pytest.raises(ExportError, match=r"path: 'model.xml': expected a file that ends in .onnx"):
        fxbin.compare_runtimes(model, "model.xml")
