"""Models with base classes that control how objects are made, or refuse changes."""

import copy
import typing
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, ClassVar, NoReturn, Self

import torch
from torch import Tensor, nn

import fxbin
from tests.test_own_code import runs_a_graph
from tests.transform_check import CONFIG, Case, check

X = torch.rand(2, 3, 8, 8)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


def problems(model: nn.Module) -> list[str]:
    return check(
        Case(model, lambda batch: (torch.rand(batch, 3, 8, 8, generator=torch.Generator()),))
    ).problems


def test_new_of_the_original_does_not_run_again() -> None:
    class Remembers(Net):
        """As huggingface_hub does, to save what a model was made with."""

        given: tuple[Any, ...]

        def __new__(cls, *args: Any) -> Self:
            made = super().__new__(cls)
            made.given = args
            return made

        def __init__(self, width: int) -> None:
            super().__init__()
            self.scale = width

    binarized = fxbin.transform(Remembers(3), CONFIG)
    assert isinstance(binarized, Remembers)
    assert copy.deepcopy(binarized).given == binarized.given == (3,)


def test_containers_that_refuse_to_be_changed() -> None:
    class Frozen(OrderedDict[str, Any]):
        """As diffusers keeps the config of a model."""

        def update(self, *_: Any, **__: Any) -> NoReturn:
            raise TypeError("frozen")

        clear = update

    class Configured(Net):
        def __init__(self) -> None:
            super().__init__()
            self.config = Frozen([("channels", 3)])

    assert not problems(Configured())


class Lazy(OrderedDict[str, Any]):
    """As transformers lists its models: what is asked for is imported then."""

    def __iter__(self) -> Iterator[str]:
        return iter(["resnet", "vit"])

    def __getitem__(self, name: str) -> NoReturn:
        raise ImportError(f"{name} needs what is not installed")

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


MODELS = Lazy()


class Listed(Net):
    of_task: ClassVar[dict[str, Lazy]] = {"classification": Lazy()}

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + len(MODELS) + len(self.of_task["classification"])


def test_mappings_that_load_what_they_list_are_not_asked_for_it() -> None:
    assert not problems(Listed())
    binarized = fxbin.transform(Listed(), CONFIG, (X,))
    assert runs_a_graph(binarized)
    OrderedDict.__setitem__(Listed.of_task["classification"], "bert", "bert")
    assert not runs_a_graph(binarized)
    assert torch.equal(binarized(X), binarized.conv(X) + 1)


def test_type_hints_of_the_class_can_be_asked_for() -> None:
    class Hinted(Net):
        """As transformers does to find the class of its config."""

        config: dict[str, int]

        def forward(self, x: Tensor) -> Tensor:
            assert "config" in typing.get_type_hints(type(self))
            return super().forward(x)

    assert not problems(Hinted())
    assert "config" in typing.get_type_hints(type(fxbin.transform(Hinted(), CONFIG)))
