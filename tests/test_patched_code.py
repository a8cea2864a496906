"""Code that is patched before or after the transform: layers of torch, classes, global variables."""

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from tests import test_patched_code as here
from tests.test_own_code import batch, binarized_by_hand, switched_on
from tests.transforming import SMALL

MEAN = torch.full((1, 3, 1, 1), 0.5)
SLOPES = [2.0]


def act(x: Tensor) -> Tensor:
    return F.relu(x)


class Act(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


shared = nn.Linear(4, 4)


class Base(nn.Module):
    conv: nn.Conv2d
    gain = 1.0

    def scaled(self, x: Tensor) -> Tensor:
        return x * self.gain

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return self.scaled(act(y))


class Block(Base):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)


class Net(nn.Module):
    factor = 1.0
    options = [1.0]  # noqa: RUF012

    @classmethod
    def of_class(cls) -> float:
        return cls.factor * cls.options[0]

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Block())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x - MEAN)
        y = shared(Act()(y).mean((2, 3))) * SLOPES[0]
        return y * self.of_class() * type(self).factor * Net.options[0]


def models(*, on: bool = False) -> tuple[Any, Any]:
    torch.manual_seed(0)
    original = Net().eval()
    model: Any = fxbin.transform(original, SMALL).eval()
    return original, switched_on(model, batch()) if on else model


CHANGES: dict[str, tuple[Any, str, Any]] = {
    "a function": (here, "act", torch.tanh),
    "a class of modules": (here, "Act", nn.Tanh),
    "a module": (here, "shared", nn.Linear(4, 4)),
    "a tensor": (here, "MEAN", torch.zeros(1)),
    "a list": (here, "SLOPES", [3.0]),
    "an attribute of the class": (Net, "factor", 3.0),
    "a list of the class": (Net, "options", [3.0]),
    "a method of a base class": (Base, "scaled", lambda _, x: 2 * x),
    "an inherited method": (Block, "scaled", lambda _, x: 2 * x),
    "an inherited attribute": (Block, "gain", 2.0),
    "an inherited forward": (Block, "forward", lambda self, x: self.conv(x)),
    "a container of torch": (nn.Sequential, "forward", lambda self, x: 2 * self[0](x)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_patched_later_counts(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original, model = models()
    before = model(batch())
    monkeypatch.setattr(*CHANGES[change], raising=False)
    assert not torch.allclose(model(batch()), before)
    assert torch.equal(model(batch()), original(batch()))
    monkeypatch.undo()
    assert torch.equal(model(batch()), before)


def test_an_item_of_a_list_of_a_class_counts() -> None:
    original, model = models()
    try:
        Net.options[0] = 5.0
        assert torch.equal(model(batch()), original(batch()))
    finally:
        Net.options[0] = 1.0


def _doubled(self: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return 2 * F.conv2d(x, weight, bias, self.stride, self.padding)


def _doubled_forward(self: Any, x: Tensor) -> Tensor:
    return 2 * F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(("name", "patch"), [("forward", _doubled_forward), ("_conv_forward", _doubled)])
def test_patched_class_of_convolutions_counts(
    first: bool, name: str, patch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, model = models()
    before = original(batch())
    monkeypatch.setattr(nn.Conv2d, name, patch)
    if first:
        original, model = models()
    assert not torch.allclose(original(batch()), before)
    assert torch.equal(model(batch()), original(batch()))
    model = switched_on(model, batch())
    conv = model.body[0].conv
    torch.testing.assert_close(conv(batch()), 2 * binarized_by_hand(model, "body.0.conv", batch()))


def _doubling(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: 2 * forward(x)


ASSIGNED: dict[str, Callable[[Any], Any]] = {
    "a function": lambda conv: lambda x: 2 * F.conv2d(x, conv.weight, conv.bias, padding=1),
    "a method": lambda conv: MethodType(_doubled_forward, conv),
    "what calls that of the class": lambda conv: _doubling(partial(nn.Conv2d.forward, conv)),
    "what calls the previous one": lambda conv: _doubling(conv.forward),
}


@pytest.mark.parametrize("way", ASSIGNED)
def test_forward_assigned_to_a_binarized_layer_is_binarized(way: str) -> None:
    _, model = models(on=True)
    conv = model.body[0].conv
    plain, before = model(batch()), conv(batch())
    conv.forward = ASSIGNED[way](conv)
    assert not torch.allclose(model(batch()), plain)
    torch.testing.assert_close(conv(batch()), 2 * before)
    torch.testing.assert_close(fxbin.deploy(model)(batch()), model(batch()))
    torch.testing.assert_close(conv(batch()), 2 * before)  # as it was, after it has been traced
    del conv.forward
    assert torch.equal(model(batch()), plain)


def test_method_assigned_to_a_binarized_layer_counts() -> None:
    _, model = models(on=True)
    conv = model.body[0].conv
    before = conv(batch())
    conv._conv_forward = MethodType(_doubled, conv)
    model(batch())
    torch.testing.assert_close(conv(batch()), 2 * before)
