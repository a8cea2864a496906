"""A model of blocks, and changes to them after the transform that the graph around them has to notice."""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from tests.test_own_code import batch, switched_on
from tests.transforming import SMALL

SLOPE = 1.0


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.tail = nn.Sequential(nn.Sigmoid())
        self.act: Any = torch.relu
        self.options = {"scale": 1.0}

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.tail(self.conv(x)) * self.options["scale"]
        return self.scaled(self.act(y))

    def scaled(self, x: Tensor) -> Tensor:
        return x * SLOPE


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Block(3), Block(4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y.mean((2, 3))


class Adapter(nn.Module):
    """What LoRA puts around a layer."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.side = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.side(x)
        return y


class Negative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x


def _without_tail(block: Any, x: Tensor) -> Any:
    return block.conv(x)


def _wrap(m: Any) -> None:
    m.body[0].conv = Adapter(m.body[0].conv)


def _delete(m: Any) -> None:
    m.body[0].conv.bias = None
    del m.body[0].tail[0]


CHANGES: dict[str, Callable[[Any], Any]] = {
    "an attribute": lambda m: setattr(m.body[0], "act", F.silu),
    "an attribute, of built-in functions": lambda m: setattr(m.body[0], "act", torch.neg),
    "an item": lambda m: m.body[0].options.update(scale=3.0),
    "a stride": lambda m: setattr(m.body[1].conv, "stride", (2, 2)),
    "no bias": lambda m: setattr(m.body[1].conv, "bias", None),
    "one more layer": lambda m: m.body[1].tail.append(nn.Tanh()),
    "one more block": lambda m: m.body.append(Negative()),
    "one layer less": _delete,
    "another layer": lambda m: setattr(m.body[1], "tail", Negative()),
    "another block of the same layers": lambda m: m.body[1].tail.__setitem__(0, nn.Tanh()),
    "a forward of a block": lambda m: setattr(m.body[1], "forward", MethodType(_without_tail, m.body[1])),
    "a forward of a container": lambda m: setattr(m.body[1].tail, "forward", torch.neg),
    "a forward that is that of a layer": lambda m: setattr(m.body[1], "forward", m.body[1].conv.forward),
    "a forward that is the call of a layer": lambda m: setattr(m.body[1], "forward", m.body[1].conv.__call__),
    "a forward that calls that of a layer": lambda m: setattr(
        m.body[1], "forward", lambda x: m.body[1].conv.forward(2 * x)
    ),
    "a wrapped forward of a layer": lambda m: setattr(
        m.body[1].conv, "forward", lambda x, own=m.body[1].conv.forward: 3 * own(x)
    ),
    "a method": lambda m: setattr(m.body[1], "scaled", torch.neg),
    "a hook on a block": lambda m: m.body[1].register_forward_hook(lambda _m, _x, y: 3 * y),
    "a hook on a layer": lambda m: m.body[1].conv.register_forward_pre_hook(lambda _m, x: (-x[0],)),
    "a wrapped layer": _wrap,
}


def blocks(change: Callable[[Any], Any] | None = None) -> Any:
    """A transformed model with all binarizers on, in eval mode, after `change`."""
    torch.manual_seed(0)
    model = switched_on(fxbin.transform(Blocks(), SMALL), batch())
    if change is not None:
        before = model(batch())
        change(model)
        assert not torch.equal(model(batch()), before)
    return model
