"""What modules hold in containers, objects and functions: a change counts from the next call on."""

import copy
import types
from array import array
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.search import DEPTH, ITEMS
from tests.transforming import config

X = torch.rand(2, 3, 7, 7)
CONFIG = config(2, 3, 7, 7)


class Holder(nn.Module):
    def __init__(self, held: Any, read: Callable[[Any], Any]) -> None:
        super().__init__()
        self.conv, self.held, self.read = nn.Conv2d(3, 4, 3), held, read

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) * self.read(self.held)
        return y


class WithDefault:
    scale = 1.0

    def get(self) -> float:
        return 1.0


class Derived(WithDefault):
    pass


@dataclass(slots=True)
class Slots:
    scale: float = 1.0


@dataclass
class Fields:
    scale: float = 1.0
    items: list[Any] = field(default_factory=lambda: [1.0])


class WithSlots:
    __slots__ = ("scale",)


class AttributesAreItems(dict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)

    __setattr__ = dict.__setitem__


class ConvertsItems(dict[str, Any]):
    """Copies lists that are put into it, also when it is copied itself."""

    def __init__(self, **items: Any) -> None:
        for name, item in items.items():
            self[name] = item

    def __setitem__(self, name: str, item: Any) -> None:
        new = [*item] if isinstance(item, list) else item
        super().__setattr__(name, new)
        super().__setitem__(name, new)

    __setattr__ = __setitem__


class Passing:
    def __init__(self, items: dict[str, Any]) -> None:
        self._items = items

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._items[name]

    def __getitem__(self, name: str) -> Any:
        return self._items[name]


class Scales:
    def __init__(self) -> None:
        self.factor = 1.0

    def __call__(self, x: float) -> float:
        return x * self.factor


Pair = namedtuple("Pair", "first second")


def space(**values: Any) -> types.SimpleNamespace:
    return types.SimpleNamespace(**values)


def put(held: Any, key: Any, value: Any) -> None:
    held[key] = value


def times(held: Any) -> Callable[[float], float]:
    return lambda x: x * held["factor"]


def helper(held: Any) -> float:
    scale: float = held.read_in_a_function
    return scale


ONE = torch.tensor(1.0)
TRIPLE = torch.tensor(3.0)
CASES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "nested dict": (lambda: {"a": {"b": 1.0}}, lambda h: h["a"]["b"], lambda h: put(h["a"], "b", 3.0)),
    "nested list": (lambda: [[1.0]], lambda h: h[0][0], lambda h: put(h[0], 0, 3.0)),
    "list in a tuple": (lambda: ([1.0],), lambda h: h[0][0], lambda h: put(h[0], 0, 3.0)),
    "list in a named tuple": (
        lambda: Pair([1.0], 2),
        lambda h: h.first[0],
        lambda h: put(h.first, 0, 3.0),
    ),
    "list in a dataclass": (Fields, lambda h: h.items[0], lambda h: put(h.items, 0, 3.0)),
    "dataclass in a dict": (
        lambda: {"a": Fields()},
        lambda h: h["a"].scale,
        lambda h: setattr(h["a"], "scale", 3.0),
    ),
    "another dataclass": (
        lambda: space(a=Fields()),
        lambda h: h.a.scale,
        lambda h: vars(h).update(a=Fields(3.0)),
    ),
    "ordered dict": (lambda: OrderedDict(a=1.0), lambda h: h["a"], lambda h: put(h, "a", 3.0)),
    "order of a dict": (
        lambda: {"a": 1.0, "b": 2.0},
        lambda h: next(iter(h.values())),
        lambda h: put(h, "a", h.pop("a")),
    ),
    "order of an ordered dict": (
        lambda: OrderedDict(a=1.0, b=2.0),
        lambda h: next(iter(h.values())),
        lambda h: h.move_to_end("a"),
    ),
    "counter": (lambda: Counter("a"), lambda h: h["a"], lambda h: h.update("a")),
    "default dict": (lambda: defaultdict(float, a=1.0), lambda h: h["a"], lambda h: put(h, "a", 3.0)),
    "deque": (lambda: deque([1.0]), lambda h: h[0], lambda h: put(h, 0, 3.0)),
    "set": (lambda: {1.0}, max, lambda h: h.add(3.0)),
    "list that grows": (lambda: [1.0, 2.0], sum, lambda h: h.append(3.0)),
    "chain map": (lambda: ChainMap({"a": 1.0}), lambda h: h["a"], lambda h: put(h, "a", 3.0)),
    "user dict": (lambda: UserDict(a=1.0), lambda h: h["a"], lambda h: put(h, "a", 3.0)),
    "array of Python": (lambda: array("d", [1.0]), lambda h: h[0], lambda h: put(h, 0, 3.0)),
    "bytes": (lambda: bytearray(b"a"), lambda h: h[0], lambda h: put(h, 0, 3)),
    "dict with attributes": (
        lambda: AttributesAreItems(scale=1.0),
        lambda h: h.scale,
        lambda h: setattr(h, "scale", 3.0),
    ),
    "dict that converts items": (
        lambda: ConvertsItems(items_=[1.0]),
        lambda h: h.items_[0],
        lambda h: put(h.items_, 0, 3.0),
    ),
    "attributes passed on": (
        lambda: Passing({"a": Passing({"b": 1.0})}),
        lambda h: h.a.b,
        lambda h: put(h._items["a"]._items, "b", 3.0),
    ),
    "items passed on": (lambda: Passing({"a": 1.0}), lambda h: h["a"], lambda h: put(h._items, "a", 3.0)),
    "attribute over a class default": (WithDefault, lambda h: h.scale, lambda h: setattr(h, "scale", 3.0)),
    "attribute over a method": (WithDefault, lambda h: h.get(), lambda h: setattr(h, "get", lambda: 3.0)),
    "attribute that was missing": (
        space,
        lambda h: getattr(h, "scale", 1.0),
        lambda h: setattr(h, "scale", 3.0),
    ),
    "attribute asked for": (
        space,
        lambda h: 3.0 if hasattr(h, "scale") else 1.0,
        lambda h: setattr(h, "scale", 3.0),
    ),
    "attribute in a function": (
        lambda: space(read_in_a_function=1.0),
        helper,
        lambda h: setattr(h, "read_in_a_function", 3.0),
    ),
    "slots": (Slots, lambda h: h.scale, lambda h: setattr(h, "scale", 3.0)),
    "slot without a value": (
        WithSlots,
        lambda h: getattr(h, "scale", 1.0),
        lambda h: setattr(h, "scale", 3.0),
    ),
    "list in an object": (lambda: space(a=[1.0]), lambda h: h.a[0], lambda h: put(h.a, 0, 3.0)),
    "dict in an object": (lambda: space(a={"b": 1.0}), lambda h: h.a["b"], lambda h: put(h.a, "b", 3.0)),
    "object in a list": (lambda: [space(a=1.0)], lambda h: h[0].a, lambda h: setattr(h[0], "a", 3.0)),
    "object replaced": (
        lambda: space(a=space(b=1.0)),
        lambda h: h.a.b,
        lambda h: setattr(h, "a", space(b=3.0)),
    ),
    "five objects deep": (
        lambda: space(a=space(a=space(a=space(a=space(a=1.0))))),
        lambda h: h.a.a.a.a.a,
        lambda h: setattr(h.a.a.a.a, "a", 3.0),
    ),
    "tensor in an object": (
        lambda: space(a=torch.tensor(1.0)),
        lambda h: h.a,
        lambda h: setattr(h, "a", TRIPLE),
    ),
    "tensor in a list": (lambda: [torch.tensor(1.0)], lambda h: h[0], lambda h: put(h, 0, TRIPLE)),
    "function in an object": (
        lambda: space(a=torch.relu),
        lambda h: h.a(-ONE) + 1,
        lambda h: setattr(h, "a", torch.abs),
    ),
    "function in a list": (lambda: [torch.relu], lambda h: h[0](-ONE) + 1, lambda h: put(h, 0, torch.abs)),
    "module in a list": (
        lambda: [nn.ReLU()],
        lambda h: h[0](-ONE) + 1,
        lambda h: put(h, 0, nn.Hardtanh(-3, 3)),
    ),
    "attribute read by a function in a list": (
        lambda: [lambda h: h.odd, space(odd=1.0)],
        lambda h: h[0](h[1]),
        lambda h: setattr(h[1], "odd", 3.0),
    ),
    "object that is called": (Scales, lambda h: h(1.0), lambda h: setattr(h, "factor", 3.0)),
    "arguments of a partial": (
        lambda: partial(dict, a=1.0),
        lambda h: h()["a"],
        lambda h: put(h.keywords, "a", 3.0),
    ),
    "closure": (
        lambda: times({"factor": 1.0}),
        lambda h: h(1.0),
        lambda h: put(h.__closure__[0].cell_contents, "factor", h(1.0) + 2),
    ),
    "number in a tensor": (lambda: torch.tensor(1.0), lambda h: h.item(), lambda h: h.fill_(3.0)),
    "number computed from a tensor": (
        lambda: torch.tensor(1.0),
        lambda h: float(h * 2 + 1),
        lambda h: h.data.fill_(3.0),
    ),
    "branch on a tensor": (lambda: torch.tensor(1.0), lambda h: 3 if h > 2 else 1, lambda h: h.fill_(3.0)),
    "number in a tensor in a list": (
        lambda: [torch.tensor(1.0)],
        lambda h: h[0].item(),
        lambda h: h[0].fill_(3.0),
    ),
    "number in a tensor in an object": (
        lambda: space(a=torch.tensor(1.0)),
        lambda h: h.a.item(),
        lambda h: h.a.fill_(3.0),
    ),
    "numpy array": (lambda: np.ones(2), lambda h: float(h[0]), lambda h: put(h, 0, 3.0)),
    "numpy array in an object": (
        lambda: space(a=np.ones(2)),
        lambda h: float(h.a[0]),
        lambda h: put(h.a, 0, 3.0),
    ),
}


def runs_a_graph(model: Any) -> bool:
    return model.graph_for((X,), {}) is not None


@pytest.mark.parametrize("case", CASES)
def test_a_change_in_what_a_module_holds_counts_from_the_next_call_on(case: str) -> None:
    make, read, change = CASES[case]
    original = Holder(make(), read)
    before = original(X)
    model: Any = fxbin.transform(original, CONFIG)
    untouched = copy.deepcopy(model)
    assert runs_a_graph(model)
    assert runs_a_graph(untouched)
    change(model.held)
    if model.held is not original.held:  # functions are shared with the original
        assert torch.equal(untouched(X), before)
        change(original.held)
    assert not torch.equal(original(X), before)
    for changed in (model, copy.deepcopy(model)):
        assert torch.equal(changed(X), original(X))
    if model.held is not original.held:
        change(untouched.held)
        assert torch.equal(untouched(X), original(X))


def test_a_class_default_changed_in_a_class_before_it_counts() -> None:
    original = Holder(Derived(), lambda h: h.scale)
    model: Any = fxbin.transform(original, CONFIG)
    try:
        Derived.scale = 3.0
        assert torch.equal(model(X), original(X))
    finally:
        del Derived.scale
    assert runs_a_graph(model)


def test_a_class_that_serves_as_settings_is_compared() -> None:
    class Settings:
        scale = 1.0

    original = Holder(Settings, lambda h: h.scale)
    model: Any = fxbin.transform(original, CONFIG)
    assert runs_a_graph(model)
    Settings.scale = 3.0
    assert torch.equal(model(X), original(X))


def test_a_container_of_a_class_is_compared() -> None:
    class WithTable(nn.Module):
        table = {"a": [1.0]}  # noqa: RUF012

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x) * self.table["a"][0]
            return y

    original = WithTable()
    model: Any = fxbin.transform(original, CONFIG)
    assert runs_a_graph(model)
    WithTable.table["a"][0] = 3.0
    assert torch.equal(model(X), original(X))


class Hidden(nn.Module):
    """Modules in a list, which no state_dict has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.hidden = nn.Conv2d(3, 4, 3), [nn.Sequential(Scaled(), nn.ReLU())]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.hidden[0](self.conv(x))
        return y


class Scaled(nn.Module):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


HIDDEN_CHANGES: dict[str, Callable[[Any], Any]] = {
    "an attribute": lambda model: setattr(model.hidden[0][0], "factor", 3.0),
    "a child": lambda model: put(model.hidden[0], 0, Scaled(3.0)),
    "another child": lambda model: model.hidden[0].append(Scaled(3.0)),
    "a hook": lambda model: model.hidden[0][0].register_forward_hook(lambda _m, _x, y: 3 * y),
    "a forward": lambda model: setattr(model.hidden[0][0], "forward", lambda x: 3 * x),
}


@pytest.mark.parametrize("change", HIDDEN_CHANGES)
def test_modules_in_a_list_are_followed(change: str) -> None:
    original = Hidden()
    model: Any = fxbin.transform(original, CONFIG)
    assert runs_a_graph(model)
    before = model(X)
    HIDDEN_CHANGES[change](model)
    HIDDEN_CHANGES[change](original)
    assert torch.equal(model(X), original(X))
    assert not torch.equal(model(X), before)


def test_a_copy_of_a_changed_model_does_not_take_the_change_for_what_was_traced() -> None:
    original = Holder({"a": {"b": 1.0}}, lambda h: h["a"]["b"])
    model: Any = fxbin.transform(original, CONFIG)
    model.held["a"]["b"] = 3.0
    copied = copy.deepcopy(model)
    copied.held["a"]["b"] = 1.0
    assert torch.equal(copied(X), original(X))


def test_an_equal_object_in_the_place_of_another_is_followed() -> None:
    original = Holder(space(a=Fields()), lambda h: h.a.scale)
    model: Any = fxbin.transform(original, CONFIG)
    for either in (original, model):
        either.held.a = Fields()
    assert torch.equal(model(X), original(X))
    for either in (original, model):
        either.held.a.scale = 3.0
    assert torch.equal(model(X), original(X))


def test_what_is_put_back_lets_the_graph_run_again() -> None:
    model: Any = fxbin.transform(Holder([space(a=[1.0])], lambda h: h[0].a[0]), CONFIG)
    model.held[0].a[0] = 3.0
    assert not runs_a_graph(model)
    model.held[0].a[0] = 1.0
    assert runs_a_graph(model)


def test_what_trains_may_change() -> None:
    weight = nn.Parameter(torch.ones(1))
    model: Any = fxbin.transform(Holder({"weight": weight}, lambda h: h["weight"]), CONFIG)
    model.held["weight"].data.fill_(3.0)
    assert runs_a_graph(model)


def _deep(levels: int) -> Any:
    return [_deep(levels - 1)] if levels else 1.0


def _deepest(held: Any) -> Any:
    while isinstance(held, list):
        held = held[0]
    return held


TOO_LARGE = [
    (lambda: [1.0] * (ITEMS + 1), lambda h: h[0], f"list of {ITEMS + 1} items: more than {ITEMS} items"),
    (lambda: np.ones(2**14), lambda h: float(h[0]), "ndarray of shape (16384,): too large"),
    (lambda: torch.ones(2**15), lambda h: h[0].item(), "Tensor of shape (32768,): too large"),
]


@pytest.mark.parametrize(("make", "read", "said"), TOO_LARGE)
def test_what_is_too_large_to_be_compared_is_listed(
    make: Callable[[], Any], read: Callable[[Any], Any], said: str
) -> None:
    model: Any = fxbin.transform(Holder(make(), read), CONFIG)
    assert [(s.expression, s.value, s.scope, s.location) for s in model.specialisations] == [
        ("held", said, "Holder", "not compared")
    ]
    assert model.specialisations == copy.deepcopy(model).specialisations


def test_what_is_too_deep_to_be_compared_is_listed() -> None:
    model: Any = fxbin.transform(Holder(_deep(DEPTH + 1), _deepest), CONFIG)
    (found,) = model.specialisations
    assert found.expression == "held" + "[0]" * DEPTH
    assert found.value == f"list of 1 items: deeper than {DEPTH} levels"


GUARDED = [
    "nested dict",
    "dataclass in a dict",
    "deque",
    "function in a list",
    "tensor in a list",
    "items passed on",
]


@pytest.mark.parametrize("case", GUARDED)
def test_a_change_counts_where_the_model_is_a_part_of_what_is_compiled(case: str) -> None:
    make, read, change = CASES[case]
    original = Holder(make(), read)
    model: Any = fxbin.transform(original, CONFIG)
    compiled: Any = torch.compile(nn.Sequential(model), backend="eager")
    assert torch.allclose(compiled(X), original(X))
    change(model.held)
    change(original.held)
    assert torch.allclose(compiled(X), original(X))


def test_a_copy_shares_what_a_class_holds() -> None:
    class WithSettings(nn.Module):
        settings = Scales()

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x) * self.settings(1.0)
            return y

    original = WithSettings()
    model: Any = copy.deepcopy(fxbin.transform(original, CONFIG))
    assert runs_a_graph(model)
    WithSettings.settings.factor = 3.0
    assert torch.equal(model(X), original(X))
