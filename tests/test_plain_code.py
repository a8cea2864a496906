"""Which layers run the code of their class."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

from fxbin.original.plain_code import is_plain


class Named(nn.ReLU):
    def extra_repr(self) -> str:
        return "named"


class Shifted(nn.ReLU):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input) + 1


class Called(nn.ReLU):
    def __call__(self, x: Tensor) -> Tensor:
        return x + 1


def of_its_own(layer: Any) -> Any:
    layer.forward = layer.forward
    return layer


def hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_pre_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize("layer", [nn.ReLU(), Named(), nn.ReLU6(), nn.BatchNorm2d(3)], ids=repr)
def test_layer_of_torch_is_plain(layer: nn.Module) -> None:
    assert is_plain(layer, nn.ReLU, nn.ReLU6, nn.BatchNorm2d)


@pytest.mark.parametrize(
    "layer", [Shifted(), Called(), of_its_own(nn.ReLU()), hooked(nn.ReLU()), nn.ReLU6(), None], ids=repr
)
def test_other_code_and_other_layers_are_not(layer: nn.Module | None) -> None:
    assert not is_plain(layer, nn.ReLU)


@pytest.mark.parametrize(
    "patch", [lambda own: lambda s, x: -own(s, x), lambda own: functools.wraps(own)(lambda s, x: -own(s, x))]
)
def test_patched_class_is_not(patch: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.ReLU, "forward", patch(nn.ReLU.forward))
    assert not is_plain(nn.ReLU(), nn.ReLU)
    assert is_plain(nn.Sigmoid(), nn.Sigmoid)


def test_method_of_another_class_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.ReLU, "forward", nn.SiLU.forward)
    assert not is_plain(nn.ReLU(), nn.ReLU)


def test_convolution_with_another_convolution_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    own: Any = nn.Conv2d._conv_forward
    assert is_plain(nn.Conv2d(1, 1, 1), nn.Conv2d)
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", lambda *args: 2 * own(*args))
    assert not is_plain(nn.Conv2d(1, 1, 1), nn.Conv2d)
