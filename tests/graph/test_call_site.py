import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarized.fused_graph import _fused
from fxbin.binarizers.conv2d_fused import binarized_conv2d
from fxbin.errors import TransformError
from fxbin.graph.call_site import CallSite, binarized_call_sites, call_sites
from tests.passes.rewriting import captured
from tests.passes.small_models import OneConv
from tests.transforming import config


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, weight=self.weight, dilation=2, padding="same")


class FromInput(Keywords):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * x.mean())


class Standardized(Keywords):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean())


class OfTheOperator(Keywords):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.aten.conv2d(x, self.weight)
        return y


@torch.jit.script
def conv2d(x: Tensor, weight: Tensor) -> Tensor:
    return torch.relu(x) + weight.sum()


class OwnConv2d(Keywords):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = conv2d(x, self.weight)
        return y


def only_site(model: nn.Module) -> CallSite:
    module = captured(model, 1, 4, 8, 8)
    (site,) = call_sites(module, module.graph)
    return site


def binarized(model: nn.Module) -> fxbin.BinarizedModule:
    return fxbin.transform(model, config(1, 4, 8, 8))


def test_arguments_have_all_names_in_order_with_defaults() -> None:
    site = only_site(Keywords())
    assert site.arguments == {
        "input": site.x,
        "weight": site.w,
        "bias": None,
        "stride": 1,
        "padding": "same",
        "dilation": 2,
        "groups": 1,
    }
    assert list(site.arguments) == ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]


def test_binarizers_are_those_straight_in_front() -> None:
    site = only_site(Keywords())
    assert (site.activation, site.weight, site.raw_x, site.raw_w) == (None, None, site.x, site.w)
    assert not list(binarized_call_sites(site.owner, site.node.graph))
    model = binarized(Keywords())
    (site,) = binarized_call_sites(model, model.graph)
    assert site.activation is model.get_submodule(str(site.x.target))
    assert site.weight is model.get_submodule(str(site.w.target))
    assert [node.op for node in (site.raw_x, site.raw_w)] == ["placeholder", "get_attr"]


@pytest.mark.parametrize(
    ("model", "path"), [(Keywords(), "weight"), (OneConv(), "conv.weight"), (Standardized(), None)]
)
def test_weight_path_is_where_the_model_holds_it(model: nn.Module, path: str | None) -> None:
    module = captured(model, 1, 2 if path == "conv.weight" else 4, 8, 8)
    (site,) = call_sites(module, module.graph)
    assert site.weight_path == path


@pytest.mark.parametrize(
    ("model", "reason"),
    [(Keywords(), None), (Standardized(), None), (FromInput(), "its weight depends on the input")],
)
def test_why_not(model: nn.Module, reason: str | None) -> None:
    assert only_site(model).why_not == reason


@pytest.mark.parametrize("make", [Keywords, OfTheOperator])
def test_any_spelling_of_the_function_runs_as_one_call_with_its_binarizers(make: type[Keywords]) -> None:
    model = binarized(make())
    targets = [node.target for node in _fused(model.graph, model).nodes if node.op == "call_function"]
    assert targets == [binarized_conv2d]


def test_another_function_called_conv2d_is_no_call_site() -> None:
    with pytest.raises(TransformError, match="OwnConv2d runs no conv2d"):
        binarized(OwnConv2d())
