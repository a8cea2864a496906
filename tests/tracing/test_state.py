"""Tracing leaves model, torch, other threads and random numbers as they were."""

import builtins
import importlib
import os
import pickle
import random
import re
import secrets
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.errors import TraceError
from fxbin.tracing import trace
from tests.tracing.running import traced
from tests.transforming import config


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.cache: dict[str, Tensor] = {}
        self.seen: list[Any] = [1]
        self.calls = 0
        self.plain = torch.ones(3, 1, 1)
        self.alias = self.conv

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x
        self.seen.append(x)
        if "weight" not in self.cache:
            self.cache["weight"] = self.conv.weight.mean() + torch.rand(())
        if self.training:
            self.plain = self.plain + 1
        y: Tensor = self.alias(self.conv(x))
        return y * self.cache["weight"] + self.plain.expand(x.shape[0], -1, 1, 1)


def test_attributes_are_put_back() -> None:
    model = Stateful().eval()
    before, conv = dict(vars(model)), dict(vars(model.conv))
    traced(model, torch.zeros(1, 3, 2, 2), training=True)
    assert vars(model) == before
    assert vars(model.conv) == conv
    assert (model.cache, model.seen, model.calls) == ({}, [1], 0)
    assert model.alias is model.conv
    assert not model.training


def test_attributes_are_put_back_after_an_error() -> None:
    model = Stateful()
    with pytest.raises(TraceError):
        traced(model, torch.zeros(1, 5, 2, 2))
    assert (model.cache, model.seen, model.calls) == ({}, [1], 0)
    assert "last" not in vars(model)


def test_what_forward_leaves_in_attributes_is_reported() -> None:
    graph = traced(Stateful(), torch.zeros(1, 3, 2, 2))
    assert ("calls", 1) in [(found.expression, found.value) for found in graph.specialisations]


def test_gradient_flags_survive_a_train_method_that_freezes() -> None:
    class Freezes(nn.Linear):
        def train(self, mode: bool = True) -> "Freezes":
            self.weight.requires_grad_(False)
            return self

    model = Freezes(2, 2)
    traced(model, torch.zeros(1, 2))
    assert model.weight.requires_grad


def test_namespaces_of_torch_are_put_back() -> None:
    before = [dict(vars(space)) for space in (torch, F, torch._C, torch.overrides, builtins)]
    traced(Stateful(), torch.zeros(1, 3, 2, 2))
    after = [dict(vars(space)) for space in (torch, F, torch._C, torch.overrides, builtins)]
    assert before == after
    assert "int" not in globals()


def test_random_numbers_are_not_used_up() -> None:
    model = Stateful()
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    traced(model, torch.zeros(1, 3, 2, 2), training=True)
    with pytest.raises(TraceError):
        traced(Draws(), torch.zeros(1, 3))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert str(np.random.get_state()) == before[2]  # noqa: NPY002


class Draws(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand(3) + random.random() + np.random.rand()  # noqa: NPY002  (as models do)


def test_chance_that_a_graph_cannot_repeat_is_refused() -> None:
    with pytest.raises(TraceError, match=r"draws numbers from random and numpy\.random"):
        traced(Draws(), torch.zeros(1, 3))


def test_module_that_draws_numbers_can_be_kept_whole() -> None:
    graph = traced(nn.Sequential(Draws()), torch.zeros(1, 3), leaf_modules=(Draws,))
    x = torch.zeros(1, 3)
    assert not torch.equal(graph(x), graph(x))


def test_other_threads_compute_as_ever() -> None:
    results: SimpleQueue[Any] = SimpleQueue()  # the content of a list would be restored

    class Waits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            def work() -> None:
                y = torch.relu(nn.Linear(2, 2)(torch.ones(1, 2)))
                results.put((type(y), y.device.type, len(y), nn.BatchNorm1d(2)(torch.ones(3, 2)).shape))

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            return x + 1

    graph = traced(Waits(), torch.zeros(1))
    assert results.get(timeout=60) == (Tensor, "cpu", 1, (3, 2))
    assert len(graph.graph.nodes) == 3


def test_threads_trace_one_after_the_other() -> None:
    graphs: list[str] = []

    def work() -> None:
        graphs.append(str(trace(Stateful(), (torch.zeros(1, 3, 2, 2),), {}, training=False).graph))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(graphs)) == 1
    assert len(graphs) == 3


def test_tensor_kept_from_a_trace_says_so() -> None:
    kept: SimpleQueue[Tensor] = SimpleQueue()  # the content of a list would be restored

    class Keeps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            kept.put(x)
            return x

    traced(Keeps(), torch.zeros(1))
    with pytest.raises(RuntimeError, match="kept and used after the tracing"):
        kept.get(timeout=60).relu()


def test_parameters_are_neither_read_nor_copied() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4096, 3), nn.ReLU(), nn.Conv2d(4096, 4096, 31))
    found = trace(model, (torch.zeros(1, 3, 40, 40),), {}, training=False)
    assert [node.op for node in found.graph.nodes] == ["placeholder", *["call_module"] * 3, "output"]
    assert found.extra_attributes == {}


def test_hidden_modules_are_kept_beside_the_root() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [nn.Linear(3, 3)]

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.hidden[0](x)
            return y

    model = Hidden()
    found = trace(model, (torch.zeros(1, 3),), {}, training=False)
    assert list(found.extra_attributes.values()) == [model.hidden[0]]
    assert torch.equal(traced(model, torch.zeros(1, 3))(torch.ones(2, 3)), model(torch.ones(2, 3)))


GENERATOR, NUMPY_GENERATOR = random.Random(3), np.random.default_rng(3)


class DrawsFrom(nn.Module):
    """Draws a number in a way of its own."""

    held = random.Random(4)

    def __init__(self, draw: Callable[["DrawsFrom"], float]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.draw = draw
        self.generators = [np.random.RandomState(5)]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y * self.draw(self) if self.training else y


def closing_over(generator: random.Random) -> Callable[[DrawsFrom], float]:
    return lambda _: generator.gauss(0, 1)


DRAWING = {
    "os.urandom": lambda _: os.urandom(1)[0] / 256,
    "os.urandom by secrets": lambda _: secrets.randbelow(1000) / 1000,
    "os.urandom by uuid": lambda _: uuid.uuid4().int % 1000 / 1000,
    "os.urandom by SystemRandom": lambda _: random.SystemRandom().random(),
    "os.urandom by numpy": lambda _: float(np.random.default_rng().random()),
    "random.Random without a seed": lambda _: random.Random().random(),
    "a random.Random": lambda _: GENERATOR.random(),
    "a random.Random of a class": lambda model: model.held.random(),
    "a random.Random in a closure": closing_over(random.Random(6)),
    "a numpy.random.Generator": lambda _: float(NUMPY_GENERATOR.normal()),
    "a numpy.random.RandomState": lambda model: float(model.generators[0].rand()),
}


@pytest.mark.parametrize("way", DRAWING)
def test_generators_are_seen_to_be_used_and_put_back(way: str) -> None:
    model = DrawsFrom(DRAWING[way])
    generators = [GENERATOR, NUMPY_GENERATOR, model.held, *model.generators]
    before = [pickle.dumps(generator) for generator in generators]
    source = re.sub(" (by|in|of) .*", "", way)
    with pytest.raises(TraceError, match=f"draws numbers from {source}"):
        traced(model, torch.zeros(1, 3, 2, 2), training=True)
    binarized = fxbin.transform(model, config(1, 3, 2, 2)).train()
    assert [pickle.dumps(generator) for generator in generators] == before
    x = torch.ones(1, 3, 2, 2)
    assert not torch.equal(binarized(x), binarized(x))
    binarized.eval()
    assert torch.equal(binarized(x), binarized(x))


def test_numbers_that_are_the_same_in_each_run_are_drawn_once() -> None:
    model = DrawsFrom(lambda _: random.Random(7).random() + float(np.random.default_rng(8).random()))
    graph = traced(model, torch.zeros(1, 3, 2, 2), training=True)
    x = torch.ones(1, 3, 2, 2)
    assert torch.equal(graph(x), model(x))


def test_module_that_draws_from_a_generator_can_be_kept_whole() -> None:
    model = nn.Sequential(DrawsFrom(DRAWING["a random.Random"])).train()
    state = GENERATOR.getstate()
    graph = traced(model, torch.zeros(1, 3, 2, 2), training=True, leaf_modules=(DrawsFrom,))
    assert GENERATOR.getstate() == state
    x = torch.ones(1, 3, 2, 2)
    assert not torch.equal(graph(x), graph(x))


def test_what_a_module_draws_when_it_is_imported_is_no_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "draws_on_import.py").write_text("import os, random\nvalue = os.urandom(2), random.Random()")
    monkeypatch.syspath_prepend(tmp_path)

    def draw(_: DrawsFrom) -> float:
        return float(len(importlib.import_module("draws_on_import").value))

    assert "draws_on_import" not in sys.modules
    traced(DrawsFrom(draw), torch.zeros(1, 3, 2, 2), training=True)
    del sys.modules["draws_on_import"]


def with_a_seed() -> Tensor:
    torch.manual_seed(3)
    return torch.rand(1)


def with_a_seed_for_a_while() -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return torch.rand(1)


@pytest.mark.parametrize(
    "draw",
    [
        with_a_seed,
        with_a_seed_for_a_while,
        lambda: torch.rand(1, generator=torch.Generator().manual_seed(3)),
        lambda: nn.Linear(1, 1).weight[0],
        lambda: torch.full((1,), torch.initial_seed() % 7),
    ],
)
def test_seeds_of_torch_are_set_and_read_in_each_run(draw: Callable[[], Tensor]) -> None:
    class Seeds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x) * draw() + torch.rand(1)
            return y

    model = Seeds()
    binarized = fxbin.transform(model, config(1, 3, 2, 2))
    assert binarized.islands
    x = torch.ones(1, 3, 2, 2)
    for seed in (1, 2):
        results = []
        for net in (model, binarized):
            torch.manual_seed(seed)
            results += [net(x), net(x)]
        assert torch.equal(torch.stack(results[:2]), torch.stack(results[2:]))


def test_a_generator_that_the_model_holds_goes_on_from_run_to_run() -> None:
    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.generator = torch.Generator().manual_seed(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x) * torch.rand(1, generator=self.generator)
            return y

    model = Holds()
    binarized = fxbin.transform(model, config(1, 3, 2, 2))
    assert not binarized.islands
    x = torch.ones(1, 3, 2, 2)
    for _ in range(2):
        assert torch.equal(model(x), binarized(x))
