"""The deployed model in `compare_runtimes`. None of this needs onnx or a runtime for it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.deployment import DeployedModule, PackedConv2d
from fxbin.engine.library import Engine
from fxbin.runtimes import RuntimeResult, comparison
from tests.binarizing import binarize
from tests.tiny_resnet import TinyResNet

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SECOND = "TinyResNet/Sequential[layer1]/TinyBlock[0]/NNCFConv2d[conv2]/conv2d_0"
SHORTCUT = "TinyResNet/Sequential[layer2]/TinyBlock[0]/Sequential[downsample]/NNCFConv2d[0]/conv2d_0"


@pytest.fixture(scope="module")
def model() -> BinarizedModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return binarize(TinyResNet(), X)


def in_engine(model: nn.Module, *samples: Any, layers: bool = True) -> RuntimeResult:
    """The result of the engine for `samples`, by default those of `compare_runtimes`."""
    (result,) = fxbin.compare_runtimes(
        model, None, samples or None, runtimes=["engine"], layers=layers
    ).results
    return result


def change_deployed(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[PackedConv2d], None], name: str
) -> None:
    """Let `compare_runtimes` get a deployed model whose convolution for the call site `name` is changed."""

    def deploy(*args: Any) -> DeployedModule:
        deployed = fxbin.deploy(*args)
        change(deployed.packed_convolutions[name])
        return deployed

    monkeypatch.setattr(comparison, "deploy", deploy)


def test_a_deployed_model_agrees_and_so_does_each_layer(built: Engine, model: BinarizedModule) -> None:
    result = in_engine(model, X, -X)
    assert result.is_right, result
    assert (result.runtime, result.layers, result.first_difference) == ("engine", 10, None)
    assert [output.name for output in result.outputs] == ["output"]
    assert result.outputs[0].difference < 1e-5
    assert in_engine(model, X, layers=False).layers == 0


def test_no_file_is_exported_for_it(
    built: Engine, model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(comparison, "export_onnx")
    assert in_engine(model).is_right


def a_bit_of_the_weight(packed: PackedConv2d) -> None:
    packed.weight_bits[:, 0, 0] ^= 1


def the_sum(packed: PackedConv2d) -> None:
    assert packed.bias is not None  # of the BatchNorm
    packed.bias += 0.1


@pytest.mark.parametrize("name", [SECOND, SHORTCUT])
@pytest.mark.parametrize("change", [a_bit_of_the_weight, the_sum])
def test_the_first_layer_that_differs_is_named(
    built: Engine,
    model: BinarizedModule,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[PackedConv2d], None],
    name: str,
) -> None:
    change_deployed(monkeypatch, change, name)
    result = in_engine(model, X)
    assert not result.is_right
    assert result.first_difference == name


def test_bits_that_are_handed_on_are_compared_by_the_outputs(
    built: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = binarize(nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 3)), X)
    assert in_engine(model, X).is_right

    def no_bits(packed: PackedConv2d) -> None:
        assert packed.output == "bits"
        packed.y_thresholds = torch.full((64,), torch.inf)

    change_deployed(monkeypatch, no_bits, "Sequential/NNCFConv2d[0]/conv2d_0")
    result = in_engine(model, X)
    assert (result.layers, result.first_difference) == (2, None)
    assert not result.outputs[0].is_right
    assert not result.is_right


class Apart(nn.Module):
    """A convolution whose output is written to, one with a sum in place, one that is called twice, a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.first(x)
        x[:, :2].mul_(0.5)
        y = self.second(x)
        y += x
        return {"y": self.second(y.relu_()), "sum": y.sum((2, 3))}


def test_values_that_are_changed_in_place_are_compared_as_they_were(built: Engine) -> None:
    result = in_engine(binarize(Apart(), X), X)
    assert result.is_right, result
    assert (result.layers, len(result.outputs)) == (3, 2)


class At(nn.Module):
    """The input is that of the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


def test_a_value_at_its_threshold_may_end_up_on_the_other_side(
    built: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = binarize(At(), X)
    (site,) = model.binarization.sites.values()
    threshold = site.activation.levels().threshold.detach()
    x = X.clone()
    x[:, :, 8, 8] = threshold.flatten()

    def lower(packed: PackedConv2d) -> None:
        packed.thresholds.copy_(torch.nextafter(packed.thresholds, torch.tensor(-torch.inf)))

    change_deployed(monkeypatch, lower, "At/NNCFConv2d[conv]/conv2d_0")
    result = in_engine(model, x)
    assert result.is_right, result
    assert result.outputs[0].at_thresholds
    assert result.outputs[0].difference > 1e-3
    x[:, :, 8, 8] += 0.1 * threshold.flatten().abs() + 0.1
    assert not in_engine(model, x).outputs[0].at_thresholds

    def lower_more(packed: PackedConv2d) -> None:
        packed.thresholds -= 0.2

    change_deployed(monkeypatch, lower_more, "At/NNCFConv2d[conv]/conv2d_0")
    assert not in_engine(model, x).is_right


def test_what_the_engine_refuses_is_in_the_report(
    built: Engine, model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(packed: PackedConv2d) -> None:
        packed.w_levels = packed.w_levels[:, 1:]

    change_deployed(monkeypatch, cut, SECOND)
    result = in_engine(model, X)
    assert (result.is_right, result.outputs, result.layers) == (False, (), 0)
    assert result.problem.startswith("w_levels: expected torch.float32 (2, 12)")


def test_without_the_engine_right_numbers_are_a_problem_all_the_same(
    model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxbin.engine.operators.engine", lambda: None)
    monkeypatch.setattr(comparison, "engine", lambda: None)
    result = in_engine(model, X)
    assert all(output.is_right for output in result.outputs)
    assert (result.layers, result.first_difference) == (10, None)
    assert (result.is_right, result.has_right_values) == (False, True)
    assert result.problem.startswith("the engine is not available here")


def test_a_model_in_full_precision_needs_no_engine(
    model: BinarizedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "engine", lambda: None)
    plain = fxbin.transform(TinyResNet(), model.binarization.config)
    with pytest.warns(UserWarning, match="not fully binarized"):
        result = in_engine(plain.eval(), X)
    assert result.is_right, result
    assert result.layers == 0
