"""Mistakes that users make, and the messages that say what to do."""

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.errors import ConfigError, ScopeError, TraceError, TransformError
from tests.transforming import SMALL, Small, assert_same_outputs, config


class Named(nn.Module):
    """A convolution of any name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.convs = nn.ModuleDict({name: nn.Conv2d(3, 3, 1)})

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs.values():
            x = conv(x)
        return x


class LooksAtContent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if y.sum() > 0 else -y


X = torch.rand(2, 3, 8, 8)


def test_unknown_mode_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r'compression\.mode.*"xnorr".*dorefa, xnor.*Did you mean "xnor"'):
        fxbin.transform(Small(), config(2, 3, 8, 8, mode="xnorr"))


def test_ignored_scope_that_matches_nothing_has_near_misses() -> None:
    with pytest.raises(ScopeError) as caught:
        fxbin.transform(Small(), config(2, 3, 8, 8, ignored_scopes=["Small/Conv2d[conv1]/conv2d_0"]))
    message = str(caught.value)
    assert 'ignored_scopes: "Small/Conv2d[conv1]/conv2d_0" matches no node' in message
    assert "Small/NNCFConv2d[conv1]/conv2d_0" in message
    assert "fxbin scopes" in message


def test_model_without_conv2d() -> None:
    with pytest.raises(TransformError, match="Sequential runs no conv2d in eval mode"):
        fxbin.transform(nn.Sequential(nn.Linear(3, 3)), config(1, 3))


def test_input_size_that_does_not_fit() -> None:
    with pytest.raises(TraceError) as caught:
        fxbin.transform(Small(), config(2, 1, 8, 8))
    message = str(caught.value)
    for part in (
        "Small cannot be traced with inputs ((2, 1, 8, 8),)",
        "RuntimeError",
    ):
        assert part in message
    assert "transforming.py:" in message
    assert "correct `input_info`" in message


def test_too_many_inputs() -> None:
    infos = [{"sample_size": [1, 3, 8, 8]}, {"sample_size": [1, 3, 8, 8]}]
    with pytest.raises(TraceError, match=r"input_info: 2 positional .* do not fit Small\.forward"):
        fxbin.transform(Small(), {**config(), "input_info": infos})


def test_inputs_that_are_no_tuple() -> None:
    with pytest.raises(TransformError, match=r"example_inputs: expected a tuple .* got Tensor; write"):
        fxbin.transform(Small(), SMALL, torch.rand(2, 3, 8, 8))  # type: ignore[arg-type]


def test_model_that_has_been_transformed_already() -> None:
    with pytest.raises(TransformError, match="transformed already"):
        fxbin.transform(fxbin.transform(Small(), SMALL), SMALL)


@pytest.mark.parametrize(
    "name",
    ["parts", "_parts", "graphs", "running", "rewrite", "choice", "_choice", "stages", "sites", "config"],
)
def test_attribute_of_a_common_name_is_the_users(name: str) -> None:
    class Model(Small):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = getattr(self, name)[0](super().forward(x))
            return y

    model = Model()
    setattr(model, name, nn.ModuleList([nn.Softmax(1)]))
    binarized = fxbin.transform(model, SMALL)
    x = torch.rand(2, 3, 8, 8)
    assert getattr(binarized, name) is binarized.get_submodule(name)
    assert torch.equal(binarized.eval()(x), model.eval()(x))


@pytest.mark.parametrize("name", ["binarization", "specialisations", "code", "graph", "meta"])
@pytest.mark.parametrize("value", [1, nn.Linear(1, 1)])
def test_attribute_whose_name_a_transformed_model_needs(name: str, value: Any) -> None:
    model = Small()
    setattr(model, name, value)
    with pytest.raises(
        TransformError, match=rf"Small\.{name}: a transformed model needs that name for itself"
    ):
        fxbin.transform(model, SMALL)
    fxbin.transform(nn.Sequential(model), SMALL)  # the way out that it names


def test_model_that_is_a_graph_module_itself() -> None:
    model, x = (
        torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))),
        torch.rand(2, 3, 8, 8),
    )
    assert_same_outputs(model, fxbin.transform(model, SMALL), x)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ('"', "a quote, a backslash or a line break"),
        ("\\", "a quote, a backslash or a line break"),
        ("class", "a keyword of Python"),
    ],
)
def test_module_name_that_code_cannot_hold(name: str, why: str) -> None:
    with pytest.raises(TransformError, match=f"has {why} in its name.*rename it"):
        fxbin.transform(Named(name), SMALL)


@pytest.mark.parametrize("name", ["1x1", "a-b c", "größe"])
def test_module_name_that_is_no_name_in_python(name: str) -> None:
    model = Named(name)
    assert_same_outputs(model, fxbin.transform(model, SMALL), torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), "0.weight has no shape yet; call the model once"),
        (
            lambda: torch.jit.trace(Small().eval(), X),
            "compiled by torch.jit, .* transform the original model",
        ),
        (lambda: torch.compile(Small()), "compiled by torch.compile; .* compile the transformed one"),
        (lambda: torch.export.export(Small(), (X,)).module(), "is a result of torch.export"),
        (lambda: lambda x: x, "expected a torch.nn.Module, got function"),
    ],
    ids=["lazy", "torch.jit", "torch.compile", "torch.export", "function"],
)
def test_what_is_no_model_to_be_followed_is_refused_at_the_door(make: Any, message: str) -> None:
    for function in (fxbin.transform, fxbin.node_names):
        with pytest.raises(TransformError, match=f"model: .*{message}"):
            function(make(), SMALL)


def test_model_without_data_that_must_run_to_be_known() -> None:
    with pytest.raises(TraceError, match=r"content of .* its weights are on the meta device: load them"):
        fxbin.transform(LooksAtContent().to("meta"), SMALL)


def test_lazy_layers_that_know_their_shapes() -> None:
    model, x = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d()), torch.rand(2, 3, 8, 8)
    model(x)
    assert_same_outputs(model, fxbin.transform(model, SMALL), x)


def test_model_that_cannot_be_copied() -> None:
    model = Small()
    model.handle = (line for line in "x")  # type: ignore[assignment]
    with pytest.raises(TransformError, match="Small cannot be copied"):
        fxbin.transform(model, SMALL)


def test_no_warnings_in_the_usual_case() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fxbin.transform(Small(), SMALL)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (pickle.dumps, r"pickle: the code of a transformed Small .* Save model.state_dict\(\) and load it"),
        (copy.copy, "copy.copy: a second Small cannot run .* use copy.deepcopy"),
        (
            lambda model: model._replicate_for_data_parallel(),
            "DataParallel: replicas of Small would lose .* use DistributedDataParallel",
        ),
    ],
)
def test_what_would_lose_the_graphs_names_the_way_out(use: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(TransformError, match=message):
        use(fxbin.transform(Small(), SMALL))


@pytest.mark.parametrize("leaf_modules", [("conv",), "conv", 3, [nn.Conv2d(1, 1, 1)], (int,)])
def test_leaf_modules_are_classes_of_modules(leaf_modules: Any) -> None:
    with pytest.raises(TransformError, match=r"leaf_modules: expected classes of modules, such as .*, got "):
        fxbin.transform(nn.Conv2d(3, 3, 3), config(1, 3, 8, 8), leaf_modules=leaf_modules)


def test_leaf_modules_may_be_a_list() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Sequential(nn.Conv2d(3, 3, 3)))
    transformed = fxbin.transform(model, config(1, 3, 8, 8), leaf_modules=[nn.Sequential])
    assert len(transformed.binarization.sites) == 1
