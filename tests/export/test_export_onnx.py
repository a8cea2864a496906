"""What `export_onnx` does to files, models and its callers, independent of the call sites."""

import copy
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers import WeightBinarizer
from fxbin.errors import ExportError, TransformError
from fxbin.export import ExportMode, export_onnx
from tests.binarizing import as_if_trained

onnx = pytest.importorskip("onnx")

Binarize = Callable[..., BinarizedModule]


class Net(nn.Module):
    """Two convolutions with BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.drop = nn.Conv2d(8, 16, 3), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Any:
        return self.drop(self.conv2(self.bn(self.conv1(x)).relu())).mean((2, 3))


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(binarize: Binarize) -> BinarizedModule:
    """`Net` in its last stage, in eval mode."""
    return binarize(Net(), X)


def test_the_model_is_left_as_it_is(model: BinarizedModule, tmp_path: Path) -> None:
    model.train()
    batchnorm = model.get_submodule("bn").eval()
    state, code = copy.deepcopy(model.state_dict()), model.code
    nodes = [str(node) for node in model.graph.nodes]
    export_onnx(model, tmp_path / "model.onnx")
    assert model.training
    assert not batchnorm.training
    assert (model.code, [str(node) for node in model.graph.nodes]) == (code, nodes)
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


def test_inputs_come_from_the_config_and_shapes_from_arguments(
    model: BinarizedModule, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    assert export_onnx(model, path).sites[0].name == "Net/NNCFConv2d[conv1]/conv2d_0"
    assert input_shape(path) == [2, 3, 8, 8]
    export_onnx(model, path, (torch.zeros(5, 3, 10, 9),))
    assert input_shape(path) == [5, 3, 10, 9]
    export_onnx(model, path, example_kwargs={"x": torch.zeros(1, 3, 10, 9)})
    assert input_shape(path) == [1, 3, 10, 9]


def input_shape(path: Path) -> list[Any]:
    (value,) = onnx.load(path).graph.input
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_dynamic_batch_leaves_the_first_axis_open(check: Any, model: BinarizedModule) -> None:
    check(model, X[:1], one_bit=2, dynamic_batch=True)
    assert input_shape(check.path) == ["batch", 3, 8, 8]
    session = pytest.importorskip("onnxruntime").InferenceSession(check.path)
    for count in (1, 2):
        (output,) = session.run(None, {"x": X[:count].numpy()})
        np.testing.assert_allclose(output, model(X[:count]).detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("opset", [18, 21, 25])
def test_opsets(check: Any, model: BinarizedModule, opset: int) -> None:
    report = check(model, X, one_bit=2, opset=opset)
    assert report.opset == opset
    assert {entry.domain: entry.version for entry in onnx.load(check.path).opset_import}[""] == opset


def test_names_of_the_file_are_those_of_the_model(model: BinarizedModule, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    graph = onnx.load(path).graph
    names = {node.name: node for node in graph.node}
    assert len(names) == len(graph.node)
    conv = names["Net/NNCFConv2d[conv2]/conv2d_0/Conv"]
    assert {entry.key: entry.value for entry in conv.metadata_props} == {
        "fxbin.scope": "Net/NNCFConv2d[conv2]/conv2d_0"
    }
    assert [value.name for value in graph.input] == ["x"]
    assert [value.name for value in graph.output] == ["output"]
    assert "conv2.bias" in {tensor.name for tensor in graph.initializer}
    assert str(Path(__file__).parent) not in path.read_bytes().decode("latin-1")


@pytest.mark.parametrize("weights", ["packed", "float"])
def test_only_values_that_are_computed_have_types(
    model: BinarizedModule, tmp_path: Path, weights: Any
) -> None:
    export_onnx(model, tmp_path / "model.onnx", weights=weights)
    graph = onnx.load(tmp_path / "model.onnx").graph
    computed = {name for node in graph.node for name in node.output}
    assert graph.value_info
    assert {value.name for value in graph.value_info} <= computed


def test_packed_weights_take_one_bit_each(binarize: Binarize, tmp_path: Path) -> None:
    x = torch.zeros(1, 64, 4, 4)
    model = binarize(nn.Conv2d(64, 128, 3, bias=False), x)
    packed = export_onnx(model, tmp_path / "packed.onnx")
    stored_float = export_onnx(model, tmp_path / "float.onnx", weights="float")
    saved = stored_float.size - packed.size
    table = 256 * 8 * 4
    assert abs(saved - (64 * 128 * 9 * (4 - 1 / 8) - table)) < 2000
    assert packed.size == (tmp_path / "packed.onnx").stat().st_size


OFF = {"activations": False, "weights": False}
FULL = ExportMode.FULL_PRECISION


@pytest.mark.parametrize(
    ("enabled", "mode", "operators", "reason"),
    [
        (OFF, FULL, set(), "its activations and weights are not binarized at this stage"),
        ({"activations": True}, ExportMode.FLOAT, {"Where"}, "its weights are not binarized at this stage"),
        ({"weights": True}, ExportMode.FLOAT, {"Mul"}, "its activations are not binarized at this stage"),
    ],
)
def test_a_stage_is_exported_as_it_is_with_a_warning(
    check: Any, model: BinarizedModule, enabled: Any, mode: ExportMode, operators: set[str], reason: str
) -> None:
    model.binarization.enable(activations=False, weights=False)
    model.binarization.enable(**enabled)
    with pytest.warns(UserWarning, match=r"2 of 2 selected call sites are not fully binarized.*conv1"):
        report = check(model, X, one_bit=0)
    assert [(site.mode, site.enabled, site.reason) for site in report.sites] == [(mode, False, reason)] * 2
    graph = onnx.load(check.path)
    assert {node.op_type for node in graph.graph.node} & {"Where", "Mul", "FakeQuantize"} == operators
    assert not graph.functions
    assert [entry.domain for entry in graph.opset_import] == [""]


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path, binarize: Binarize) -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3)

        def forward(self, image: Tensor, offset: Tensor, flag: bool = False) -> dict[str, Tensor]:
            return {"out": self.conv(image + offset), "offset_too": offset * 2}

    config = {
        "input_info": [{"sample_size": [1, 8, 5, 5]}, {"sample_size": [1, 8, 1, 1], "keyword": "offset"}],
        "compression": {"algorithm": "binarization"},
    }
    model = as_if_trained(fxbin.transform(Several(), config))
    export_onnx(model, tmp_path / "model.onnx")
    assert names_of(tmp_path / "model.onnx") == (["image", "offset"], ["out", "offset_too"])


def names_of(path: Path) -> tuple[list[str], list[str]]:
    graph = onnx.load(path).graph
    return [value.name for value in graph.input], [value.name for value in graph.output]


@pytest.mark.parametrize("names", [("picture", "logits"), ("conv1.bias", "bn.weight"), ("relu", "conv2d")])
def test_inputs_and_outputs_can_be_given_names(check: Any, model: BinarizedModule, names: Any) -> None:
    check(model, X, one_bit=2, input_names=[names[0]], output_names=(names[1],))
    assert names_of(check.path) == ([names[0]], [names[1]])


class Returns(nn.Module):
    """Something beside the convolution, or in place of its output."""

    def __init__(self, returned: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.returned = returned

    def forward(self, x: Tensor) -> Any:
        return self.returned(self.conv(x))


class CalledAlike(nn.Module):
    """An input that is called like the output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, output: Tensor) -> Any:
        return self.conv(output)


@pytest.mark.parametrize("net", [CalledAlike(), Returns(lambda y: {"x": y})])
def test_an_input_and_an_output_of_one_name_are_named(
    tmp_path: Path, binarize: Binarize, net: nn.Module
) -> None:
    name = "output" if isinstance(net, CalledAlike) else "x"
    model = binarize(net, X)
    with pytest.raises(ExportError, match=f"model: an input and an output are both called '{name}', "):
        export_onnx(model, tmp_path / "model.onnx")
    export_onnx(model, tmp_path / "model.onnx", input_names=["image"])
    assert names_of(tmp_path / "model.onnx") == (["image"], [name])


@pytest.mark.parametrize(
    "plain", [nn.Conv2d(3, 8, 3), fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))]
)
def test_a_model_that_was_not_transformed_is_named(tmp_path: Path, plain: nn.Module) -> None:
    message = rf"^fxbin\.export_onnx: expected a model that .* returned, got {type(plain).__name__}"
    with pytest.raises(TransformError, match=message):
        export_onnx(plain, tmp_path / "model.onnx", (X,))


def test_swapped_arguments_are_named(model: BinarizedModule) -> None:
    for path in ("t.onnx", Path("t.onnx")):
        with pytest.raises(ExportError, match=r"^model: got the path 't.onnx'; the model comes first: "):
            export_onnx(path, model)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=r"^path: expected a name such as 'model.onnx', got NoneType"):
        export_onnx(model, None)  # type: ignore[arg-type]


def test_scales_that_have_seen_no_training_batch_are_told(tmp_path: Path) -> None:
    config = {
        "input_info": {"sample_size": [1, 3, 8, 8]},
        "compression": {"algorithm": "binarization", "params": {"activation_init_batches": 2}},
    }
    model = fxbin.transform(Net(), config)
    model.binarization.enable(activations=True, weights=True)
    told = r"2 of 2 activation scales have never seen .*\(Net/NNCFConv2d\[conv1\]/conv2d_0, Net/.*train mode"
    with pytest.warns(UserWarning, match=told) as caught:
        export_onnx(model, tmp_path / "model.onnx")
    assert caught[0].filename == __file__
    for _ in range(2):
        model(X)
    export_onnx(model, tmp_path / "model.onnx")


def test_none_among_the_outputs_is_left_out(tmp_path: Path, binarize: Binarize) -> None:
    export_onnx(binarize(Returns(lambda y: {"out": y, "aux": None}), X), tmp_path / "model.onnx")
    assert [value.name for value in onnx.load(tmp_path / "model.onnx").graph.output] == ["out"]


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


@dataclass
class Both:
    first: Tensor
    second: Tensor


@dataclass
class Output(OrderedDict[str, Any]):
    """As the models of transformers return it."""

    logits: Tensor
    features: Tensor | None = None

    def __post_init__(self) -> None:
        self.update({name: value for name, value in vars(self).items() if value is not None})


@pytest.mark.parametrize(
    ("returned", "names"),
    [
        (lambda y: OrderedDict([("out", y), ("aux", 2 * y)]), ["out", "aux"]),
        (lambda y: {"main": OrderedDict(out=y), "aux": 2 * y}, ["output", "output_1"]),
        (Output, ["logits"]),
        (lambda y: Output(y, 2 * y), ["logits", "features"]),
        (lambda y: Pair(y, 2 * y), ["output", "output_1"]),
        (lambda y: [Both(y, 2 * y), y + 1], ["output", "output_1", "output_2"]),
    ],
)
def test_containers_of_any_class_are_outputs(
    tmp_path: Path, binarize: Binarize, returned: Any, names: list[str]
) -> None:
    model, path = binarize(Returns(returned), X), tmp_path / "model.onnx"
    export_onnx(model, path)
    assert [value.name for value in onnx.load(path).graph.output] == names
    compared = fxbin.compare_runtimes(model, path, [X], runtimes=["onnxruntime"], layers=True)
    assert compared.is_right, str(compared)
    assert [len(result.outputs) for result in compared.results] == [len(names)]


@pytest.mark.parametrize(
    ("returned", "message"),
    [(lambda y: (y, 3), "it returns 3 beside"), (lambda y: (y, y.shape[2]), "a number that it computes")],
)
def test_an_output_that_is_no_tensor_is_named(
    tmp_path: Path, binarize: Binarize, returned: Any, message: str
) -> None:
    with pytest.raises(ExportError, match=f"model: .*{message}.*returns the tensors alone"):
        export_onnx(binarize(Returns(returned), X), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


class OffsetLevels(WeightBinarizer):
    """A binarizer of a user: levels 0 and 1."""

    def scale(self, w: Tensor) -> Tensor:
        return torch.ones(1)

    def binarize(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)


def replace_weight_binarizer(model: BinarizedModule, replacement: WeightBinarizer) -> None:
    site = model.binarization.sites["Net/NNCFConv2d[conv2]/conv2d_0"]
    target = next(name for name, module in model.named_modules() if module is site.weight)
    replacement.enable()
    model.set_submodule(target, replacement)


def test_levels_that_fxbin_does_not_know_are_written_as_their_forward(
    check: Any, model: BinarizedModule
) -> None:
    replace_weight_binarizer(model, OffsetLevels())
    report = check(model, X, one_bit=1)
    assert report.sites[1].reason == (
        "OffsetLevels is not a binarizer whose levels fxbin knows: it overrides binarize, but not levels"
    )


def test_a_file_is_replaced_only_by_a_whole_one(
    model: BinarizedModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def fail(_descriptor: int) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(ExportError, match=r"path: '.*' cannot be written: disk full"):
            export_onnx(model, path)
    assert path.read_bytes() == b"old"
    export_onnx(model, path)
    assert onnx.load(path).graph.node
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opset": 17}, r"opset: expected 18 to 25, got 17"),
        ({"opset": 18.0}, r"opset: expected 18 to 25, got 18.0"),
        ({"weights": "bits"}, r"weights: expected \"packed\" or \"float\", got 'bits'"),
        ({"dynamic_batch": "yes"}, r"dynamic_batch: expected True or False, got 'yes'"),
        ({"external_data": 1}, r"external_data: expected True, False or None, got 1"),
        ({"input_names": "x"}, r"input_names: expected a list of names, got 'x'"),
        ({"input_names": ["x", "y"]}, r"input_names: expected 1 names, for x, got 2"),
        ({"output_names": [""]}, r"output_names: expected names, all different, got '' in \[''\]"),
        ({"output_names": ["x"]}, r"model: an input and an output are both called 'x'"),
        ({"example_inputs": X}, r"example_inputs: expected a tuple .* got Tensor; write \(x,\)"),
        ({"example_inputs": (X, X)}, r"example_inputs: the model does not take Tensor"),
        ({"example_inputs": ()}, r"example_inputs: the input 'x' is missing"),
        (
            {"example_inputs": (X,), "example_kwargs": {"x": X}},
            r"example_inputs: the input 'x' is given twice",
        ),
        ({"example_kwargs": {"x": X, "y": X}}, r"example_inputs: the model does not take y"),
        ({"example_inputs": (X[:, :2],)}, r"example_inputs: .* inputs torch.float32 \(2, 2, 8, 8\): "),
    ],
)
def test_wrong_arguments_are_named(
    model: BinarizedModule, tmp_path: Path, arguments: Any, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export_onnx(model, tmp_path / "model.onnx", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_a_file_is_named(model: BinarizedModule, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"path: the folder '.*missing' does not exist; create it first"):
        export_onnx(model, tmp_path / "missing" / "model.onnx")
    with pytest.raises(
        ExportError, match=r"path: .* is a folder; give the name of a file, such as model.onnx"
    ):
        export_onnx(model, tmp_path)


@pytest.mark.parametrize("name", ["model.pt", "model", "model.onnx.gz", ".onnx"])
def test_a_file_is_called_what_it_is(model: BinarizedModule, tmp_path: Path, name: str) -> None:
    with pytest.raises(
        ExportError, match=rf"path: '.*{name}': expected a name that ends in .onnx, such as '"
    ):
        export_onnx(model, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_file_is_named_before_anything_is_done(
    model: BinarizedModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxbin.export.output_file.why_not_writable", lambda folder: f"in {folder}, no room")
    monkeypatch.setattr("fxbin.export.pipeline.prepare", None)
    with pytest.raises(ExportError, match=r"path: '.*' cannot be written: in .*, no room\. Choose"):
        export_onnx(model, tmp_path / "model.onnx")


def test_a_missing_package_says_what_to_install(
    model: BinarizedModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxbin.export.packages.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r'onnx and onnxscript not found: pip install "fxbin\[onnx\]"'):
        export_onnx(model, tmp_path / "model.onnx")


def test_bfloat16_is_refused_with_the_way_out(model: BinarizedModule, check: Any, tmp_path: Path) -> None:
    bfloat16 = copy.deepcopy(model).bfloat16()
    with pytest.raises(ExportError, match=r"^model: conv1.weight is in bfloat16, .*deepcopy\(model\).float"):
        export_onnx(bfloat16, tmp_path / "model.onnx", (X.bfloat16(),))
    with pytest.raises(ExportError, match=r"^model: input 'x' is in bfloat16"):
        export_onnx(model, tmp_path / "model.onnx", (X.bfloat16(),))
    assert not list(tmp_path.iterdir())
    check(copy.deepcopy(bfloat16).float(), X, one_bit=2)


def test_channels_last_computes_the_same(check: Any, model: BinarizedModule) -> None:
    changed = copy.deepcopy(model)
    for parameter in changed.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    check(changed, X.to(memory_format=torch.channels_last), one_bit=2)


def test_float16_is_exported_in_plain_operators(check: Any, model: BinarizedModule) -> None:
    half = copy.deepcopy(model).half()
    report = export_onnx(half, check.path, (X.half(),))
    assert [site.reason for site in report.sites] == ["it computes in float16, not in float32"] * 2
    with torch.no_grad():
        np.testing.assert_allclose(check.in_onnxruntime(X.half()), half(X.half()), rtol=0, atol=2e-3)


def test_what_the_onnx_checker_refuses_is_an_export_error(
    model: BinarizedModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise onnx.shape_inference.InferenceError("no such type")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(ExportError, match="is not valid ONNX: no such type"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_what_the_exporter_cannot_follow_is_an_export_error(model: BinarizedModule, tmp_path: Path) -> None:
    class Unstable(OffsetLevels):
        def binarize(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 0 else -x

    replace_weight_binarizer(model, Unstable())
    with pytest.raises(ExportError, match="PyTorch's ONNX exporter stopped"):
        export_onnx(model, tmp_path / "model.onnx")


def test_nothing_is_printed(
    model: BinarizedModule, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(model, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


class WritesIntoItsInput(nn.Module):
    """A convolution of an input that is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x += 1
        y: Tensor = self.conv(x)
        return y


def test_the_example_inputs_stay_as_they_are(binarize: Binarize, tmp_path: Path) -> None:
    x = torch.zeros(1, 3, 5, 5)
    model = binarize(WritesIntoItsInput(), x)
    for use in (
        lambda: export_onnx(model, tmp_path / "model.onnx", (x,)),
        lambda: fxbin.deploy(model, (x,)),
        lambda: fxbin.compare_runtimes(model, inputs=[x], runtimes=["engine"]),
    ):
        use()
        assert not x.any()
