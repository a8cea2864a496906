"""Modules that a part's code can reach are restored, and this makes the trace of a part no slower."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.original.reach import reachable
from tests.transform_check import CONFIG


def cell(parent: nn.Module) -> Callable[[], nn.Module]:
    return lambda: parent


class Holder:
    def __init__(self, held: nn.Module) -> None:
        self.held = held


@pytest.mark.parametrize(
    "wrap",
    [
        lambda parent: [parent],
        lambda parent: {"parent": (parent,)},
        lambda parent: parent.train,
        lambda parent: partial(print, parent),
        lambda parent: partial(print, module=parent),
        lambda parent: lambda x=parent: x,
        cell,
        Holder,
        weakref.ref,
        weakref.proxy,
    ],
)
def test_parent_is_reached_however_it_is_held(wrap: Callable[[nn.Module], Any]) -> None:
    parent = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    vars(parent[0])["parent"] = wrap(parent)
    assert set(reachable(parent[0])) == {parent, *parent}
    assert set(reachable(parent[1])) == {parent[1]}


class Counting(nn.Module):
    """Counts in its parent, beside being a convolution."""

    def __init__(self, parent: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.parent: list[Any] = [parent]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        self.parent[0].calls += 1
        self.parent[0].last = y
        return y


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.last: Tensor | None = None
        self.counting = Counting(self)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > -1e9:
            x = self.counting(x)
        return x * self.calls


def test_code_that_changes_its_parent_is_no_part_and_is_put_back() -> None:
    binarized = fxbin.transform(Deciding(), CONFIG, (torch.rand(1, 3, 4, 4),))
    assert vars(binarized)["calls"] == 0
    assert vars(binarized)["last"] is None
    assert [*binarized.traced_parts] == [
        "counting.conv"
    ]  # what a graph leaves in attributes would be missing


class Row(nn.Module):
    """Code that no graph can hold, around `length` parts."""

    switched = 0

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2, 2, 1) for _ in range(length))

    def train(self, mode: bool = True) -> "Row":
        Row.switched += 1
        super().train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if x.sum() > -1e9:
                x = layer(x) + x
        return x


def test_model_is_switched_as_often_for_many_parts_as_for_few() -> None:
    counts = []
    for length in (2, 8):
        Row.switched = 0
        binarized = fxbin.transform(Row(length), CONFIG, (torch.rand(1, 2, 4, 4),))
        assert len(binarized.traced_parts) == length
        counts.append(Row.switched)
    assert counts[0] == counts[1]
