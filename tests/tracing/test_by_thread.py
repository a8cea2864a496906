"""A trace replaces functions for its own thread only, and not where a user has replaced them before."""

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.tracing.patches.by_thread import by_thread
from fxbin.tracing.patches.patching import REPLACEMENTS
from fxbin.tracing.values.stand_ins import standing_for
from tests.tracing.running import traced
from tests.transforming import assert_same_outputs, config

LENGTH = len


class Waits(nn.Module):
    """Lets another thread work while it is traced."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self.work = work
        self.results: Any = []

    def forward(self, x: Tensor) -> Tensor:
        def act() -> None:
            try:
                self.results.append(self.work())
            except Exception as error:  # noqa: BLE001
                self.results.append(error)

        thread = threading.Thread(target=act)
        thread.start()
        thread.join()
        return x + x.shape[0]


def elsewhere(work: Callable[[], Any]) -> Any:
    """What `work` gives in a thread while another one traces a model."""
    model = Waits(work)
    results = model.results
    model.results = _Kept(results)  # a trace puts back what a list held
    traced(model, torch.ones(2))
    assert LENGTH(results) == 1
    return results[0]


class _Kept:
    def __init__(self, results: list[Any]) -> None:
        self.append = results.append


def test_shapes_are_pickled_and_read() -> None:
    shape = torch.zeros(2, 3).shape
    kept = pickle.dumps(shape)

    def work() -> Any:
        written = [pickle.dumps(shape, protocol) for protocol in range(2, 6)]
        return [pickle.loads(item) for item in (*written, kept)]

    found = elsewhere(work)
    assert found == [shape] * 5
    assert {type(item) for item in found} == {torch.Size}


def test_what_is_looked_up_is_what_it_was() -> None:
    def work() -> Any:
        of_modules = [each for each in REPLACEMENTS if isinstance(each.owner, ModuleType)]
        return [torch.relu, F.relu, *(getattr(each.owner, each.name) for each in of_modules)]

    expected = work()
    found = elsewhere(work)
    assert all(one is other for one, other in zip(found, expected, strict=True))


def test_functions_are_pickled() -> None:
    functions = [torch.relu, F.relu, F.softmax, torch.finfo, LENGTH, int, float, type]

    def work() -> Any:
        return [pickle.dumps(function) for function in [*functions, len, int, float, type]]

    found = [pickle.loads(kept) for kept in elsewhere(work)]
    assert all(item is function for item, function in zip(found, [*functions, *functions[4:]], strict=True))


def test_built_in_types_do_what_they_do() -> None:
    def work() -> Any:
        class Whole(int):
            pass

        match [3, 2.5, "text"]:
            case [int(whole), float(half), str(text)]:
                matched = whole, half, text
        return [
            matched,
            [len([1]), len(torch.zeros(3, 2)), len(torch.zeros(3, 2).shape), len("ab")],
            [int("7"), int("ff", 16), float("1.5"), list(map(int, "12")), int.from_bytes(b"a", "big")],
            [type(whole) is int, type(half) is float, type(int) is type, isinstance(int, type)],
            [
                isinstance(True, int),
                issubclass(bool, int),
                isinstance(3, int | None),
                isinstance(3, (str, float)),
            ],
            [Whole(3) + 1, type(Whole(3)) is Whole, issubclass(Whole, int), type("Made", (), {}).__name__],
            [list[int] == list[int], {type[int]: 1}[type[int]], str(int | None), repr(int)],
            {int: 1, float: 2}[type(whole)],
            [np.zeros(1, dtype=int).dtype, np.zeros(1, dtype=float).dtype, np.array([1]).astype(float).dtype],
            [
                copy.deepcopy({int: len})[int]([1]),
                copy.deepcopy(int) is int,
                sorted([2.5, 1], key=float),
                callable(int),
            ],
        ]

    assert str(elsewhere(work)) == str(work())


def test_classes_cannot_be_built_from_what_is_no_class() -> None:
    def work() -> Any:
        return int[int]  # type: ignore[misc]

    assert str(elsewhere(work)) == "type 'int' is not subscriptable"


@contextmanager
def put_in_place(namespace: Any, name: str, make: Callable[[Any], Any]) -> Iterator[Any]:
    original = getattr(namespace, name)
    changed = make(original)
    setattr(namespace, name, changed)
    try:
        yield changed
    finally:
        setattr(namespace, name, original)


def doubled(original: Callable[..., Any]) -> Callable[..., Any]:
    def changed(*args: Any, **kwargs: Any) -> Any:
        return 2 * original(*args, **kwargs)

    return changed


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.weight = nn.Parameter(torch.rand(3, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x)) + F.conv2d(x, self.weight)


@pytest.mark.parametrize(("namespace", "name"), [(torch, "relu"), (F, "conv2d")])
def test_what_a_user_has_replaced_is_called_and_stays(namespace: Any, name: str) -> None:
    x = torch.rand(2, 3, 4, 4)
    model = Net()
    plain = fxbin.transform(model, config(2, 3, 4, 4))
    assert_same_outputs(model, plain, x)
    with put_in_place(namespace, name, doubled) as changed:
        binarized = fxbin.transform(model, config(2, 3, 4, 4))
        assert getattr(namespace, name) is changed
        assert_same_outputs(model, binarized, x)
    names = [fxbin.node_names(net, config(2, 3, 4, 4)) for net in (binarized, plain)]
    assert names[0] == names[1]
    assert len(fxbin.summary(binarized).sites) == 2
    assert_same_outputs(model, binarized, x)


def test_what_code_replaces_while_it_is_traced_is_followed_and_put_back() -> None:
    class Replaces(Net):
        def forward(self, x: Tensor) -> Tensor:
            with put_in_place(torch, "relu", doubled):
                return super().forward(x) + torch.relu(x)

    model, relu = Replaces(), torch.relu
    assert_same_outputs(model, fxbin.transform(model, config(2, 3, 4, 4)), torch.rand(2, 3, 4, 4))
    assert torch.relu is relu


def test_what_somebody_replaces_meanwhile_stays() -> None:
    original = torch.relu
    assert isinstance(standing_for(original)(doubled(original)), FunctionType)
    with by_thread(torch, {"relu": standing_for(original)(doubled(original))}):
        torch.relu = other = doubled(original)
    try:
        assert torch.relu is other
    finally:
        torch.relu = original
