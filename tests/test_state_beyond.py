"""State that forward changes beyond attributes of modules: in objects, arrays, classes, closures, globals."""

import array
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.errors import TraceError
from fxbin.original.state_places import Numbers
from tests.test_own_code import batch, runs_a_graph
from tests.transforming import SMALL

CALLS = 0
COUNTS = {"calls": 0}
HAS_WARNED = False
CACHE: dict[Any, Tensor] = {}


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return self.calls


@dataclass(slots=True)
class Slotted:
    calls: int = 0


class Shared:
    calls = 0


def counter() -> Callable[[], int]:
    calls = 0

    def count() -> int:
        nonlocal calls
        calls += 1
        return calls

    return count


class Net(nn.Module):
    seen: ClassVar[list[int]] = []
    total = 0

    def __init__(self, count: Callable[[Any], int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Conv2d(4, 4, 1)
        self.count = count
        self.counter = Counter()
        self.slotted = Slotted()
        self.queue: deque[int] = deque(maxlen=100)
        self.nested = [{"counter": Counter()}]
        self.pair: tuple[list[int], int] = ([], 0)
        self.numbers = np.zeros(2)
        self.bytes = bytearray(1)
        self.array = array.array("l", [0])
        self.bound = partial(Counter.__call__, Counter())
        self.space = SimpleNamespace(calls=0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.conv(x))
        return y * self.count(self)


def appended(items: Any) -> int:
    items.append(1)
    return len(items)


def raised(items: Any, key: Any = 0) -> int:
    items[key] += 1
    return int(items[key])


def _slotted(m: Any) -> int:
    m.slotted.calls += 1
    return int(m.slotted.calls)


def _of_class(m: Any) -> int:
    type(m).total += 1
    return int(m.total)


def _of_another_class(_: Any) -> int:
    Shared.calls += 1
    return Shared.calls


def _global(_: Any) -> int:
    global CALLS  # noqa: PLW0603
    CALLS += 1
    return CALLS


def _of_this_module(_: Any) -> int:
    module: Any = sys.modules[__name__]
    module.CALLS += 1
    return int(module.CALLS)


def _default(_: Any, seen: list[int] = []) -> int:  # noqa: B006
    return appended(seen)


def _of_function(_: Any) -> int:
    _of_function.calls = getattr(_of_function, "calls", 0) + 1  # type: ignore[attr-defined]
    return int(_of_function.calls)  # type: ignore[attr-defined]


def _of_a_layer(m: Any) -> int:
    m.conv.calls = getattr(m.conv, "calls", 0) + 1
    return int(m.conv.calls)


def _by_vars(m: Any) -> int:
    vars(m)["calls"] = vars(m).get("calls", 0) + 1
    return int(m.calls)


WAYS: dict[str, Callable[[Any], int]] = {
    "an object": lambda m: m.counter(),
    "an object with slots": _slotted,
    "a deque": lambda m: appended(m.queue),
    "an object in containers": lambda m: m.nested[0]["counter"](),
    "a list in a tuple": lambda m: appended(m.pair[0]),
    "a numpy array": lambda m: raised(m.numbers),
    "bytes": lambda m: raised(m.bytes),
    "an array": lambda m: raised(m.array),
    "an object behind a partial": lambda m: m.bound(),
    "a namespace": lambda m: raised(vars(m.space), "calls"),
    "a class of modules": _of_class,
    "a list of a class": lambda m: appended(m.seen),
    "another class": _of_another_class,
    "a global variable": _global,
    "a global variable by way of its module": _of_this_module,
    "a dict in a global variable": lambda _: raised(COUNTS, "calls"),
    "a default argument": _default,
    "an attribute of a function": _of_function,
    "an attribute of a layer": _of_a_layer,
    "an attribute by way of vars": _by_vars,
}


def _reset() -> None:
    global CALLS, HAS_WARNED
    CALLS, HAS_WARNED, COUNTS["calls"], Shared.calls, Net.total = 0, False, 0, 0, 0
    Net.seen.clear()
    CACHE.clear()
    vars(_of_function).clear()
    _default.__defaults__[0].clear()  # type: ignore[index]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    _reset()
    yield
    _reset()


def outputs(model: Callable[[Tensor], Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return [model(batch()) for _ in range(3)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_forward_changes_it_as_in_the_original(way: str, training: bool) -> None:
    model = Net(WAYS[way]).train(training)
    transformed = fxbin.transform(model, SMALL).train(training)
    found = outputs(transformed)
    _reset()
    expected = outputs(model)
    torch.testing.assert_close(expected[2], 3 * expected[0])
    torch.testing.assert_close(found, expected)


def test_variables_of_a_function_change_as_in_the_original() -> None:
    count = counter()
    found = outputs(fxbin.transform(Net(lambda _: count()), SMALL))  # copies of a model share its functions
    assert count() == 4
    torch.testing.assert_close(found[2], 3 * found[0])


ARRAYS: dict[str, tuple[Any, Any, Any]] = {
    "with steps": (np.zeros(6)[::2], 0, 4),
    "of a number": (np.array(5.0), ..., 9),
    "of dates": (np.array(["2020"], dtype="datetime64[D]"), 0, "2021"),
    "of objects": (np.array([Counter()], dtype=object), 0, None),
    "of text": (np.array(["a"]), 0, "b"),
    "of Fortran": (np.zeros((2, 3)).T, (0, 0), 1),
    "of Python": (array.array("d", [1, 2]), 0, 7),
    "of bytes": (bytearray(b"abc"), 0, 7),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_content_of_arrays_is_compared_and_restored(kind: str) -> None:
    numbers, key, value = ARRAYS[kind]
    place, before = Numbers(numbers), numbers[key]
    assert not [*place.changes()]
    numbers[key] = value
    assert [*place.changes()]
    place.restore()
    assert numbers[key] == before
    assert not [*place.changes()]


class KeepsInAnObject(nn.Module):
    """What it computes, by shape, in an object that is not copied with its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.grids: Any = SimpleNamespace(of={})

    def convolved(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolved(x)
        shape = tuple(y.shape[1:])
        if shape not in self.grids.of:
            self.grids.of[shape] = torch.full(shape, 0.5)
        grid: Tensor = self.grids.of[shape]
        return y + grid


class KeepsInAGlobal(KeepsInAnObject):
    def __init__(self) -> None:
        super().__init__()
        self.grids = None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if "grid" not in CACHE:
            CACHE["grid"] = torch.full(y.shape[1:], 0.5)
        return y + CACHE["grid"]


@pytest.mark.parametrize("kind", [KeepsInAnObject, KeepsInAGlobal])
def test_tensors_of_a_trace_stay_nowhere(kind: Any) -> None:
    model = kind()
    transformed = fxbin.transform(model, SMALL)
    assert not CACHE
    for size in (8, 8, 10) if kind is KeepsInAnObject else (8, 8):
        torch.testing.assert_close(transformed(batch(size=size)), model(batch(size=size)))


class WarnsOnce(KeepsInAnObject):
    def forward(self, x: Tensor) -> Tensor:
        global HAS_WARNED  # noqa: PLW0603
        if not HAS_WARNED:
            HAS_WARNED = True
        y: Tensor = self.conv(x)
        return y


def test_flag_that_is_set_once_leaves_the_graph_valid() -> None:
    model = fxbin.transform(WarnsOnce(), SMALL)
    assert HAS_WARNED
    assert runs_a_graph(model)


class Fails(KeepsInAnObject):
    def forward(self, x: Tensor) -> Tensor:
        CACHE["input"] = x
        self.grids.of["input"] = x
        raise ValueError("no")


def test_failed_transform_leaves_what_models_share_as_it_was() -> None:
    model = Fails()
    with pytest.raises(TraceError, match="ValueError: no"):
        fxbin.transform(model, SMALL)
    assert not CACHE
    assert not model.grids.of


# Dynamo itself makes the object it warns of.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_model_changes_it_too() -> None:
    model = Net(lambda m: m.counter())
    transformed = fxbin.transform(model, SMALL)
    torch.compiler.reset()
    torch.testing.assert_close(outputs(torch.compile(transformed, backend="eager")), outputs(model))


class ReadsVars(KeepsInAnObject):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolved(x)
        scale: float = self.__dict__["scale"] * vars(self)["scale"]
        return y * scale


def test_attribute_that_is_read_by_way_of_vars_may_change() -> None:
    model = fxbin.transform(ReadsVars(), SMALL)
    before = model(batch())
    model.scale = 3.0
    torch.testing.assert_close(model(batch()), 9 * before)
