"""Another class for a module (``block.__class__ = Other``), and the class of a transformed model, called."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from tests.transforming import config

X = torch.rand(2, 3, 7, 7)
CONFIG = config(2, 3, 7, 7)


class Block(nn.Module):
    factor = 1.0

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) * self.factor
        return y


class Doubled(Block):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class WithFactor(Block):
    factor = 3.0


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)


class FunctionalDoubled(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight) * 2


class DoubledConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class DoubledInside(nn.Conv2d):
    def _conv_forward(self, *args: Any) -> Tensor:
        y: Tensor = super()._conv_forward(*args)
        return y * 2


class DoubledReLU(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


CHANGES = [
    (lambda: nn.Sequential(Block(), nn.ReLU()), 0, Doubled),
    (lambda: nn.Sequential(Block(), nn.ReLU()), 0, WithFactor),
    (lambda: nn.Sequential(Functional(), nn.ReLU()), 0, FunctionalDoubled),
    (lambda: nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()), 0, DoubledConv),
    (lambda: nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()), 0, DoubledInside),
    (lambda: nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()), 1, DoubledReLU),
]


@pytest.mark.parametrize(("make", "index", "kind"), CHANGES)
def test_another_class_of_a_module_counts_from_the_next_call_on(make: Any, index: int, kind: type) -> None:
    original = make()
    model: Any = fxbin.transform(original, CONFIG)
    untouched, before = copy.deepcopy(model), original(X)
    for either in (original, model):
        either[index].__class__ = kind
    assert not torch.equal(original(X), before)
    for changed in (model, copy.deepcopy(model)):
        assert torch.equal(changed(X), original(X))
        assert torch.equal(changed[index](X), original[index](X))
    assert torch.equal(untouched(X), before)


class AroundABlock(nn.Module):
    """Its code looks at values, so that its block runs as a graph by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return y if bool(x.sum() > -1) else x


def test_another_class_of_a_part_counts() -> None:
    original = AroundABlock()
    model: Any = fxbin.transform(original, CONFIG)
    assert set(model.traced_parts) == {"block"}
    original.block.__class__ = model.block.__class__ = Doubled
    assert torch.equal(model(X), original(X))


def test_another_class_counts_where_the_model_is_a_part_of_what_is_compiled() -> None:
    original = nn.Sequential(Block(), nn.ReLU())
    model: Any = fxbin.transform(original, CONFIG)
    compiled: Any = torch.compile(nn.Sequential(model), backend="eager")
    assert torch.allclose(compiled(X), original(X))
    original[0].__class__ = model[0].__class__ = Doubled
    assert torch.allclose(compiled(X), original(X))


def test_a_class_called_without_arguments_gives_an_object_of_the_original_class() -> None:
    original = Block()
    model: Any = fxbin.transform(original, CONFIG)
    fresh = type(model)()
    assert type(fresh) is Block
    fresh.load_state_dict(original.state_dict())
    assert torch.equal(fresh(X), original(X))
    assert "conv" in repr(fresh)
    assert type(type(copy.deepcopy(model))()) is Block


def test_a_class_called_with_arguments_gives_an_object_of_the_original_class() -> None:
    model: Any = fxbin.transform(Block(4), CONFIG)
    assert type(model)(channels=5).conv.out_channels == 5


def test_a_class_that_needs_arguments_says_so_as_the_original_does() -> None:
    class NeedsChannels(Block):
        def __init__(self, channels: int) -> None:
            super().__init__(channels)

    model: Any = fxbin.transform(NeedsChannels(4), CONFIG)
    with pytest.raises(TypeError, match=r"NeedsChannels.__init__\(\) missing 1 required .*'channels'"):
        type(model)()


class MakesAnother(Block):
    def another(self) -> "MakesAnother":
        return self.__class__()


def test_code_that_calls_its_own_class_gets_the_original_class() -> None:
    model: Any = fxbin.transform(MakesAnother(), CONFIG)
    assert type(model.another()) is MakesAnother
