"""Convolutions that stay in float32 compute what `nn.Conv2d` does, with an arranged weight."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin import torch_private
from fxbin.deployment import DeployedModule, prepack_rest
from fxbin.deployment.prepacked_conv2d import PrepackedConv2d
from fxbin.engine.library import Engine
from tests.binarizing import as_if_trained
from tests.transforming import config

X = torch.randn(2, 6, 12, 10, generator=torch.Generator().manual_seed(0)).contiguous(
    memory_format=torch.channels_last
)


def deployed(conv: nn.Module, x: Tensor = X) -> DeployedModule:
    """`conv` in front of a binarized convolution."""
    model = nn.Sequential(conv, nn.Conv2d(8, 8, 1)).to(x.dtype)
    settings = config(*x.shape, ignored_scopes=[r"{re}\[0\]"])
    return fxbin.deploy(as_if_trained(fxbin.transform(model, settings, (x,))), (x,))


@pytest.fixture(autouse=True)
def small_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this file are arranged, too."""
    monkeypatch.setattr(prepack_rest, "LEAST_BYTES", 0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of oneDNN's functions."""
    made: list[str] = []

    def noted(name: str) -> Any:
        function = getattr(torch_private, name)

        def call(*args: Any) -> Any:
            made.append(name)
            return function(*args)

        return call

    for name in ("arranged_weight", "arranged_conv2d"):
        monkeypatch.setattr(torch_private, name, noted(name))
    return made


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": (3, 5), "padding": "same", "dilation": (1, 2), "bias": False},
        {"kernel_size": 3, "padding": (1, 2), "stride": (2, 1)},
        {"kernel_size": 2, "padding": "valid"},
    ],
)
def test_it_computes_the_same(built: Engine, calls: list[str], options: dict[str, Any]) -> None:
    conv = nn.Conv2d(6, 8, **options)
    layer = deployed(conv).get_submodule("0")
    assert type(layer) is PrepackedConv2d
    for x in (X, X * 2, X[:1], torch.randn(3, 6, 7, 9).contiguous(memory_format=torch.channels_last), X):
        with torch.no_grad():
            y, expected = layer(x), conv(x)
        torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
        assert y.stride() == expected.stride()
    assert calls.count("arranged_conv2d") == 5
    assert calls.count("arranged_weight") == 4


def test_what_is_written_is_arranged_again(built: Engine, calls: list[str]) -> None:
    layer = deployed(nn.Conv2d(6, 8, 3)).get_submodule("0")
    assert isinstance(layer, PrepackedConv2d)
    layer(X)
    with torch.no_grad():
        layer.weight.mul_(2)
    assert layer.bias is not None
    torch.testing.assert_close(layer(X), F.conv2d(X, layer.weight, layer.bias))
    layer.weight.data = layer.weight.data * 3
    torch.testing.assert_close(layer(X), F.conv2d(X, layer.weight, layer.bias))
    other = copy.deepcopy(layer)
    other.load_state_dict({"weight": layer.weight / 5, "bias": layer.bias})
    torch.testing.assert_close(other(X), F.conv2d(X, layer.weight / 5, layer.bias))
    assert calls.count("arranged_conv2d") == 4


def test_what_is_arranged_is_counted(built: Engine) -> None:
    model = deployed(nn.Conv2d(6, 8, 3))
    model(X)
    layer, (packed,) = model.get_submodule("0"), model.packed_convolutions.values()
    assert isinstance(layer, PrepackedConv2d)
    assert layer.form_bytes >= layer.weight.nbytes
    tensors = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
    assert model.held_bytes == tensors + packed.form_bytes + layer.form_bytes


def test_a_small_weight_is_not_worth_a_second_copy(built: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    conv = nn.Conv2d(6, 8, 3)
    for least, kind in ((conv.weight.nbytes, PrepackedConv2d), (conv.weight.nbytes + 1, nn.Conv2d)):
        monkeypatch.setattr(prepack_rest, "LEAST_BYTES", least)
        assert type(deployed(conv).get_submodule("0")) is kind


def test_with_inference_mode(built: Engine) -> None:
    layer = deployed(nn.Conv2d(6, 8, 3)).get_submodule("0")
    expected = layer(X)
    with torch.inference_mode():
        assert torch.equal(layer(X), expected)
        made = copy.deepcopy(layer)
        for values in made.parameters():
            values.mul_(2)
        torch.testing.assert_close(made(X), 2 * expected)


@pytest.mark.parametrize(
    "x", [X.contiguous(), X[0], X[:0], X.clone().requires_grad_()], ids=["plain", "one", "none", "gradient"]
)
def test_other_inputs_go_the_usual_way(built: Engine, calls: list[str], x: Tensor) -> None:
    conv = nn.Conv2d(6, 8, 3)
    layer = deployed(conv).get_submodule("0")
    y = layer(x)
    torch.testing.assert_close(y, conv(x), rtol=1e-6, atol=1e-6)
    assert y.requires_grad == x.requires_grad
    assert calls == []


def test_its_weight_can_be_trained(built: Engine, calls: list[str]) -> None:
    layer = deployed(nn.Conv2d(6, 8, 3)).get_submodule("0").requires_grad_()
    layer(X).sum().backward()
    assert all(values.grad is not None for values in layer.parameters())
    assert calls == []


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN:UserWarning")
def test_whoever_records_operators_sees_a_convolution(built: Engine, calls: list[str]) -> None:
    model = deployed(nn.Conv2d(6, 8, 3))
    expected = model(X)
    calls.clear()
    program = torch.export.export(model, (X,))
    assert "conv2d" in program.graph_module.code
    assert "mkldnn" not in program.graph_module.code
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(X), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.get_submodule("0")(X).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        torch.testing.assert_close(model(X), expected)
    assert calls == []


@pytest.mark.parametrize(
    ("conv", "x"),
    [
        (nn.Conv2d(6, 8, 3, groups=2), X),
        (nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"), X),
        (nn.Conv2d(6, 8, 3), X.double()),
        (nn.ConvTranspose2d(6, 8, 3), X),
    ],
)
def test_other_layers_stay(built: Engine, conv: nn.Module, x: Tensor) -> None:
    assert type(deployed(conv, x).get_submodule("0")) is type(conv)
