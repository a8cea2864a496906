"""A `forward` that was assigned to the model itself, in place of that of its class."""

import copy
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from tests.transforming import assert_same_outputs, config

CONFIG = config(2, 3, 6, 6)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.dropout = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.conv(x), 0.5, self.dropout.training)


class LooksAtContent(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if y.sum() > 0 else 3 * y


def closure(model: nn.Module) -> Callable[..., Any]:
    old = model.forward

    def forward(x: Tensor) -> Tensor:
        y: Tensor = 2 * old(x)
        return y

    return forward


def method(model: nn.Module) -> Callable[..., Any]:
    kind = type(model)

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        y: Tensor = 2 * kind.forward(self, x)
        return y

    return MethodType(forward, model)


def with_an_argument(model: nn.Module) -> Callable[..., Any]:
    kind = type(model)

    def forward(self: nn.Module, factor: int, x: Tensor) -> Tensor:
        y: Tensor = factor * kind.forward(self, x)
        return y

    return partial(forward, model, 2)


WAYS = pytest.mark.parametrize("way", [closure, method, with_an_argument])


@WAYS
@pytest.mark.parametrize("kind", [Net, LooksAtContent])
def test_graph_holds_what_it_does(kind: type[Net], way: Callable[[nn.Module], Any]) -> None:
    model = kind()
    model.forward = way(model)  # type: ignore[method-assign]
    binarized = fxbin.transform(model, CONFIG)
    assert "forward" not in vars(binarized)
    assert "forward" in vars(model)
    x = torch.rand(2, 3, 6, 6)
    assert_same_outputs(model, binarized, x)
    full_precision = binarized(x)
    binarized.binarization.enable(activations=True, weights=True)
    assert not torch.equal(binarized(x), full_precision)
    binarized(x).sum().backward()
    assert binarized.get_parameter("conv.weight").grad is not None
    assert model.conv.weight.grad is None


@WAYS
@pytest.mark.parametrize("kind", [Net, LooksAtContent])
def test_it_is_traced_again_for_other_modes_of_submodules(
    kind: type[Net], way: Callable[[nn.Module], Any]
) -> None:
    model = kind()
    model.forward = way(model)  # type: ignore[method-assign]
    binarized = fxbin.transform(model, CONFIG)
    for net in (model, binarized):
        net.train().get_submodule("dropout").eval()
    x = torch.rand(2, 3, 6, 6)
    assert torch.equal(model(x), binarized(x))


@WAYS
@pytest.mark.parametrize("kind", [Net, LooksAtContent])
def test_copies_of_the_transformed_model_run_on_weights_of_their_own(
    kind: type[Net], way: Callable[[nn.Module], Any]
) -> None:
    model = kind()
    model.forward = way(model)  # type: ignore[method-assign]
    copied = copy.deepcopy(fxbin.transform(model, CONFIG)).eval()
    copied.get_submodule("dropout").train()  # one more graph
    nn.init.zeros_(copied.get_parameter("conv.weight"))
    nn.init.zeros_(copied.get_parameter("conv.bias"))
    assert not copied(torch.rand(2, 3, 6, 6)).any()
