"""Layers that the code changes before it calls them, and caches, run as they were when they were called."""

import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxbin.errors import TraceError
from tests.tracing.running import traced


class Changes(nn.Module):
    """Everything that a forward may do to a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.conv.padding = (1, 1)
        self.norm.eval()
        self.pool.output_size = (x.shape[2] // 2, 2)
        x = self.pool(self.norm(self.conv(x)))
        weight = {"weight": self.linear.weight * 2}
        x = torch.func.functional_call(self.linear, weight, (x.movedim(1, 3),))
        y: Tensor = nn.AvgPool2d((x.shape[2], 1))(x)
        return y


def test_layers_run_with_what_the_code_gave_them() -> None:
    torch.manual_seed(0)
    model, x = Changes(), torch.rand(3, 3, 8, 8)
    assert model.norm.running_mean is not None
    model.norm.running_mean.uniform_()
    graph = traced(model, torch.zeros(1, 3, 8, 8), training=True).train()
    assert model.conv.padding == (0, 0)
    assert torch.equal(graph(x), model.train()(x))
    assert torch.equal(graph(x[..., :6, :6]), model(x[..., :6, :6]))


class Freezes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 3)
        self.right = nn.Linear(3, 3).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        layers = [layer for layer in (self.left, self.right) if layer.weight.requires_grad]
        y: Tensor = sum(layer(x) for layer in layers)
        if y.requires_grad:
            y.register_hook(lambda grad: grad * 3)
        return y


def test_code_may_ask_what_learns_and_look_at_gradients() -> None:
    torch.manual_seed(0)
    model, x = Freezes(), torch.rand(2, 3)
    graph = traced(model, torch.zeros(1, 3), training=True)
    graph(x).sum().backward()
    found = model.left.weight.grad
    model.left.weight.grad = None
    model(x).sum().backward()
    torch.testing.assert_close(found, model.left.weight.grad, rtol=0, atol=0)
    with torch.no_grad(), pytest.raises(TraceError, match=r"add\.requires_grad in Freezes"):
        graph(x)
    assert not graph.specialisations


@lru_cache
def positions(height: int, width: int) -> Tensor:
    return torch.arange(height * width).view(height, width)


def cached_inside(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator around a cache, as transformers has one."""
    cached = lru_cache(function)

    @wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args) if torch.compiler.is_compiling() else cached(*args)

    return wrapper


class Cached(nn.Module):
    @lru_cache  # noqa: B019  (as models do)
    def ones(self, size: int) -> Tensor:
        return torch.ones(size)

    @staticmethod
    @cached_inside
    def twos(size: int) -> Tensor:
        return torch.full((size,), 2.0)

    @staticmethod
    @lru_cache
    def threes(size: int) -> Tensor:
        return torch.full((size,), 3.0)

    def forward(self, x: Tensor) -> Any:
        sizes = x.shape
        return (
            x + positions(*sizes[-2:]) + self.ones(sizes[-1]) * self.twos(sizes[-1]) - self.threes(sizes[-1])
        )


def test_cached_functions_remember_nothing_of_a_trace() -> None:
    model = Cached()
    graph = traced(model, torch.zeros(1, 2, 3))
    caches = (positions, Cached.ones, Cached.threes)
    assert [cached.cache_info().currsize for cached in caches] == [0, 0, 0]
    assert torch.equal(model(torch.zeros(1, 2, 3)), graph(torch.zeros(1, 2, 3)))
    assert torch.equal(graph(torch.zeros(4, 3, 5)), model(torch.zeros(4, 3, 5)))
    assert graph.specialisations == ()


LIBRARY = """
from functools import cache

@cache
def plan(*sizes):
    return sizes[0], -1

def flat(x):
    return x.reshape(plan(*x.shape))
"""


class Imports(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return globals()["flat"](x)


def test_caches_of_imported_libraries_bake_in_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("some_library")
    exec(LIBRARY, vars(library))
    monkeypatch.setitem(sys.modules, "some_library", library)
    monkeypatch.setitem(globals(), "flat", library.flat)
    graph = traced(Imports(), torch.zeros(1, 2, 3))
    assert graph(torch.zeros(4, 2, 3)).shape == (4, 6)
    assert graph.specialisations == ()
    assert library.plan.cache_info().currsize == 0


def test_a_python_module_whose_import_is_blocked_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"{__name__.partition('.')[0]}.blocked", None)
    x = torch.ones(1, 2, 3)
    assert torch.equal(traced(Cached(), x)(x), Cached()(x))
