"""Models that run their own code, called from several threads at once: each call is as it is alone."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from tests.test_own_code import batch, runs_a_graph, switched_on
from tests.transforming import SMALL


class Waits(nn.Module):
    """Code that, once it has got a barrier, lets all threads come to the middle before any goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(3, 3, 3, 3))
        self.barrier: threading.Barrier | None = None

    def wait(self) -> None:
        if self.barrier is not None:
            self.barrier.wait(timeout=20)


class TwoFunctions(Waits):
    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(self.conv(x), self.weight, padding=1)
        self.wait()
        return F.conv2d(y, self.weight * 2, padding=1)


class LayerTwice(Waits):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        self.wait()
        z: Tensor = self.conv(y)
        return z


class SetsAttributes(TwoFunctions):
    """Its own code runs from the start."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return super().forward(x)


def together(model: Any, inputs: list[Tensor]) -> list[Tensor]:
    """The outputs for `inputs`, one thread for each; all are inside of the model at the same time."""

    def call(x: Tensor) -> Tensor:
        with torch.no_grad():
            y: Tensor = model(x)
        return y

    with ThreadPoolExecutor(len(inputs)) as pool:
        return list(pool.map(call, inputs))


@pytest.mark.parametrize("kind", [TwoFunctions, LayerTwice, SetsAttributes])
@pytest.mark.parametrize("is_inner", [False, True])
def test_calls_of_several_threads_do_not_mix(kind: type[Waits], is_inner: bool) -> None:
    torch.manual_seed(0)
    original = nn.Sequential(nn.Conv2d(3, 3, 1), kind()) if is_inner else kind()
    model = switched_on(fxbin.transform(original, SMALL), batch())
    inputs = [batch(seed) for seed in range(4)]
    with torch.no_grad():
        expected = [model(x) for x in inputs]
    (model[1] if is_inner else model).barrier = threading.Barrier(len(inputs))
    assert not runs_a_graph(model)
    for found, one in zip(together(model, inputs), expected, strict=True):
        torch.testing.assert_close(found, one)


class Called(TwoFunctions):
    """Does something around its forward in a method that torch has, too."""

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = super().__call__(x * 2)
        return y


@pytest.mark.parametrize("kind", [TwoFunctions, Called])
@pytest.mark.parametrize("had_hooks", [False, True])
@pytest.mark.parametrize("has_hooks", [False, True])
def test_hooks_of_the_model_run_once_in_each_thread(
    kind: type[Waits], had_hooks: bool, has_hooks: bool
) -> None:
    torch.manual_seed(0)
    original, seen = kind(), list[nn.Module]()

    def hook(module: nn.Module, _x: Any, y: Tensor) -> Tensor:
        seen.append(module)
        return y * 3 + 1

    if had_hooks:
        original.register_forward_pre_hook(lambda _m, x: (x[0] + 0.5,))
        original.register_forward_hook(hook)
    model = switched_on(fxbin.transform(original, SMALL), batch())
    if has_hooks:
        model.register_forward_hook(hook)
    inputs = [batch(seed) for seed in range(4)]
    with torch.no_grad():
        expected = [model(x) for x in inputs]
    before, model.barrier = {*vars(model)}, threading.Barrier(len(inputs))
    seen.clear()
    assert not runs_a_graph(model)
    for found, one in zip(together(model, inputs), expected, strict=True):
        torch.testing.assert_close(found, one)
    assert seen == [model] * len(inputs) * (had_hooks + has_hooks)
    assert {*vars(model)} == before


class ReadsMode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.weight = TwoFunctions(), nn.Parameter(torch.randn(3, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.block(x), self.weight) * (2 if self.training else 1)


def test_modes_that_several_threads_meet_first_are_traced_once() -> None:
    torch.manual_seed(0)
    model: Any = switched_on(fxbin.transform(nn.Sequential(ReadsMode(), ReadsMode()), SMALL), batch())
    inputs = [batch(seed) for seed in range(8)]
    known = len(model._graph_choice.variants)
    model[1].training = True
    alone = copy.deepcopy(model)
    with torch.no_grad():
        expected = [alone(x) for x in inputs]
    for found, one in zip(together(model, inputs), expected, strict=True):
        torch.testing.assert_close(found, one)
    assert len(model._graph_choice.variants) == known + 1
    assert runs_a_graph(model)


def test_a_failed_call_in_one_thread_leaves_the_others_alone() -> None:
    torch.manual_seed(0)
    model = switched_on(fxbin.transform(TwoFunctions(), SMALL), batch())
    expected = model(batch())
    model.barrier = None
    del model.barrier  # its own code fails in the middle
    with ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(model, batch()).exception(), AttributeError)
    model.barrier = None
    assert torch.equal(model(batch()), expected)
