"""A model of the layers that exports and `fxbin.deploy` know by their class, and other code given to them."""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

import fxbin
from tests.binarizing import as_if_trained
from tests.transforming import config

X = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))

KINDS: dict[str, type[nn.Module]] = {
    "dropout": nn.Dropout,
    "norm": nn.BatchNorm2d,
    "act": nn.ReLU,
    "slope": nn.PReLU,
    "pool": nn.MaxPool2d,
    "head": nn.Linear,
    "stem": nn.Conv2d,
    "conv": nn.Conv2d,
}
"""The classes of the layers by name; `stem` stays in float."""


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv, self.norm, self.act = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.dropout = nn.Dropout(0.5)
        self.last, self.slope, self.head = nn.Conv2d(8, 8, 3), nn.PReLU(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.bn(self.stem(x))))
        x = x + self.dropout(self.act(self.norm(self.conv(x))))
        y: Tensor = self.head(self.slope(self.last(x)).mean((2, 3)) + x.mean((2, 3)))
        return y


def plus(layer: Any) -> None:
    """Let `layer` add 0.3 to what it returns."""
    own = layer.forward
    layer.forward = lambda x: own(x) + 0.3


def bound(layer: Any) -> None:
    layer.forward = MethodType(lambda self, x: type(self).forward(self, x) + 0.3, layer)


def hooked(layer: Any) -> None:
    layer.register_forward_hook(lambda _layer, _x, y: y + 0.3)


def transformed(model: nn.Module) -> Any:
    settings = config(*X.shape, ignored_scopes=[r"{re}\[stem\]"])
    return as_if_trained(fxbin.transform(model, settings, (X,))).eval()


def layers(change: Callable[[Any], Any] | None = None) -> Any:
    """A transformed model in its last stage, in eval mode, after `change`."""
    torch.manual_seed(0)
    model = transformed(Layers())
    if change is not None:
        before = model(X)
        change(model)
        assert not torch.allclose(model(X), before)
    return model
