"""Tensors in containers of any class: passed to and from modules that are kept whole, and returned."""

from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.graph.containers import map_nested, parts, rebuilt
from tests.transforming import assert_same_outputs, config


@dataclass
class Plain:
    x: Tensor
    factor: int = 2


@dataclass(frozen=True)
class Frozen:
    x: Tensor
    inside: Plain | None = None


@dataclass
class Checked:
    x: Any
    scale: InitVar[float]
    shape: Any = field(init=False)

    def __post_init__(self, scale: float) -> None:
        assert isinstance(self.x, Tensor)
        self.x = self.x * scale
        self.shape = self.x.shape[1]


@dataclass(slots=True)
class Slotted:
    x: Tensor


class AttributeDict(dict[str, Any]):
    def __init__(self, **content: Any) -> None:
        super().__init__(content)
        self.__dict__ = self


class ModelOutput(OrderedDict[str, Any]):
    """As libraries write it: its fields are its items, of which None is none."""

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            if getattr(self, name) is not None:
                super().__setitem__(name, getattr(self, name))

    def __setitem__(self, key: str, value: Any) -> None:
        raise TypeError("not to be changed")


@dataclass
class Output(ModelOutput):
    x: Tensor
    y: Tensor | None = None


class Batch(UserDict[str, Tensor]):
    @property
    def x(self) -> Tensor:
        return self["x"]


class Titled(list[Tensor]):
    title = "none"

    @property
    def x(self) -> Tensor:
        return self[0]


class Named(NamedTuple):
    x: Tensor
    factor: int = 1


class Reversed(namedtuple("Reversed", ["y", "x"])):  # noqa: SLOT002
    def __new__(cls, x: Tensor, y: int = 0) -> "Reversed":
        return super().__new__(cls, y, x)


def titled(x: Tensor) -> Titled:
    made = Titled([x])
    made.title = "some"
    return made


def by_default(x: Tensor) -> Any:
    made: defaultdict[str, list[Tensor]] = defaultdict(list)
    made["x"].append(x)
    return made


MAKERS: list[Callable[[Tensor], Any]] = [
    Plain,
    lambda x: Plain(x, x.shape[0]),
    lambda x: Frozen(x, Plain(x)),
    lambda x: Checked(x, 2.0),
    Slotted,
    lambda x: AttributeDict(x=x),
    Output,
    titled,
    Named,
    Reversed,
    by_default,
    lambda x: OrderedDict(x=x),
    lambda x: {"x": (Named(x), [Plain(x)])},
    lambda x: x.unsqueeze(0).max(0),
]


def first(item: Any) -> Tensor:
    """The first tensor in `item`, by its own way."""
    while not isinstance(item, Tensor):
        by_key = "x" if isinstance(item, dict) else 0
        item = item.x if hasattr(item, "x") else item[by_key]
    return item


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, item: Any, *, again: Any) -> Any:
        return type(item).__name__, first(item) + self.norm(first(again))


class LooksAtContent(Whole):
    def forward(self, item: Any, *, again: Any) -> Any:
        assert first(item).isfinite().all()
        return super().forward(item, again=again)


class Gives(nn.Module):
    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x)


class Net(nn.Module):
    def __init__(self, make: Callable[[Tensor], Any], whole: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.make, self.whole, self.gives = make, whole, Gives(make)

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x)
        name, y = self.whole(self.make(x), again=self.make(2 * x))
        return name, self.gives(x), self.make(y)


def same(left: Any, right: Any) -> bool:
    """Whether two containers are of the same classes and hold the same tensors."""
    inside, other = parts(left), parts(right)
    if inside is None or other is None:
        return torch.equal(left, right) if isinstance(left, Tensor) else bool(left == right)
    attributes = [name for name in vars(left) if name == "title"] if hasattr(left, "__dict__") else []
    return (
        type(left) is type(right)
        and all(getattr(left, name) == getattr(right, name) for name in attributes)
        and list(inside) == list(other)
        and all(map(same, inside.values(), other.values()))
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("whole", [Whole, LooksAtContent])
@pytest.mark.parametrize("make", MAKERS)
def test_containers_around_modules_that_are_kept_whole(
    make: Callable[[Tensor], Any], whole: type[Whole], training: bool
) -> None:
    model = Net(make, whole()).train(training)
    binarized = fxbin.transform(model, config(2, 3, 4, 4), leaf_modules=(Whole, Gives))
    assert not binarized.islands
    for size in (2, 5):
        x = torch.rand(size, 3, 4, 4)
        assert same(model(x), binarized(x))


def test_attributes_of_a_returned_dict_are_its_items() -> None:
    output: Any = fxbin.transform(Net(lambda x: AttributeDict(x=x), Whole()), config(2, 3, 4, 4))(
        torch.rand(2, 3, 4, 4)
    )[2]
    assert output.x is output["x"]
    output.new = 3
    assert output["new"] == 3


def test_settings_are_handed_on_as_the_objects_they_are() -> None:
    class Settings(dict[str, float]):
        __hash__ = object.__hash__  # type: ignore[assignment]

    @dataclass
    class Options:
        factor: float
        parent: Any = None

    options = Options(3.0)
    options.parent = options

    class Scales(nn.Module):
        def forward(self, x: Tensor, given: Any, settings: Any) -> Tensor:
            assert given.parent is given
            assert type(settings) is Settings
            y: Tensor = x * given.factor * settings["by"]
            return y

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.scales = nn.Conv2d(3, 3, 1), Scales()
            self.options, self.settings = options, Settings(by=0.5)

        def forward(self, x: Tensor) -> Any:
            return self.scales(self.conv(x), self.options, self.settings)

    model = Scaled()
    binarized = fxbin.transform(model, config(2, 3, 4, 4), leaf_modules=(Scales,))
    assert_same_outputs(model, binarized, torch.rand(2, 3, 4, 4))


class Applies(nn.Module):
    def forward(self, function: Any) -> Any:
        return function()


@pytest.mark.parametrize(
    "make",
    [lambda x: lambda: 2 * x, lambda x: Batch(x=x).__getitem__, lambda x: [x.relu]],
    ids=["closure", "method", "list of a method"],
)
def test_what_no_graph_can_make_anew_is_left_to_the_code(make: Callable[[Tensor], Any]) -> None:
    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.applies = nn.Conv2d(3, 3, 1), Applies()

        def forward(self, x: Tensor) -> Any:
            made = make(self.conv(x))
            if isinstance(made, list):
                return self.applies(*made)
            return self.applies(lambda: made("x")) if hasattr(made, "__self__") else self.applies(made)

    model = Calls()
    binarized = fxbin.transform(model, config(2, 3, 4, 4), leaf_modules=(Applies,))
    assert "holds tensors of this run" in binarized.islands[0].reason
    assert_same_outputs(model, binarized, torch.rand(2, 3, 4, 4))


def test_container_in_which_nothing_changes_is_kept() -> None:
    for item in (Frozen(torch.ones(1)), AttributeDict(x=1), Titled(), Named(torch.ones(1)), slice(1, 2)):
        assert map_nested(item, lambda x: x) is item


def test_rebuilt_container_keeps_what_is_no_part_of_it() -> None:
    assert rebuilt(titled(torch.ones(1)), [1]).title == "some"
    by_key = rebuilt(by_default(torch.ones(1)), [1])
    assert by_key["other"] == []
    output: Any = rebuilt(Output(torch.ones(1)), [3])
    assert (output.x, output["x"], output.y) == (3, 3, None)


class Sums(nn.Module):
    def forward(self, items: Any) -> Any:
        return sum(items)


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: (item for item in (x, y)),
        lambda x, y: iter([x, y]),
        lambda x, y: map(torch.neg, (x, y)),
        lambda x, y: {"x": x, "y": y}.values(),
        lambda x, y: frozenset([x + y]),
    ],
)
def test_what_is_good_for_one_run_is_left_to_the_code(make: Callable[[Tensor, Tensor], Any]) -> None:
    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.sums = nn.Conv2d(3, 3, 1), Sums()

        def forward(self, x: Tensor) -> Any:
            return self.sums(make(x, self.conv(x)))

    model = Once()
    binarized = fxbin.transform(model, config(2, 3, 4, 4), leaf_modules=(Sums,))
    assert binarized.islands
    assert_same_outputs(model, binarized, torch.rand(2, 3, 4, 4))


class Appends(nn.Module):
    def forward(self, x: Tensor, found: Any) -> Tensor:
        if isinstance(found, dict):
            found["y"] = 2 * x
        elif isinstance(found, list):
            found.append(2 * x)
        else:
            found.x = 2 * x
        return x


class AppendsByContent(Appends):
    def forward(self, x: Tensor, found: Any) -> Tensor:
        assert x.isfinite().all()
        return super().forward(x, found)


@pytest.mark.parametrize("make", [lambda x: [x], lambda x: {"y": x}, Plain, lambda x: OrderedDict(y=x)])
@pytest.mark.parametrize("kind", [Appends, AppendsByContent])
@pytest.mark.parametrize("leaf_modules", [(), (Appends,)])
def test_containers_that_a_module_changes(
    make: Callable[[Tensor], Any], kind: type[Appends], leaf_modules: tuple[type[nn.Module], ...]
) -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.appends = nn.Conv2d(3, 3, 1), kind()

        def forward(self, x: Tensor) -> Any:
            found = make(x)
            y = self.appends(self.conv(x), found)
            last = found.x if hasattr(found, "x") else found["y" if isinstance(found, dict) else -1]
            return y + last

    model = Reads()
    binarized = fxbin.transform(model, config(2, 3, 4, 4), leaf_modules=leaf_modules)
    assert_same_outputs(model, binarized, torch.rand(2, 3, 4, 4))
    if leaf_modules:
        assert "changes a list, a dict or an object" in binarized.islands[0].reason
