"""Values outside of modules that code reads: of objects that modules hold, and of global variables."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.original.mentions import global_names
from tests import values_in_a_module
from tests.transforming import config

SCALE = 1.0


@dataclass
class Inner:
    bias: float = 0.0


class Options:
    def __init__(self) -> None:
        self.gain, self.unread, self.inner = 1.0, 0, Inner()

    @property
    def doubled(self) -> float:
        return 2 * self.gain


@dataclass
class Settings:
    shift: float = 0.0
    names: list[str] = field(default_factory=list)


SETTINGS = Settings()
options: Any = None  # has the name of an attribute that `Reader` reads
by_text = 1.0


def scaled(x: Tensor) -> Tensor:
    return x * SCALE * values_in_a_module.FACTOR


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.options = nn.Conv2d(3, 4, 3), Options()

    def forward(self, x: Tensor) -> Tensor:
        return scaled(self.conv(x)) * self.options.doubled + self.options.inner.bias + SETTINGS.shift


X = torch.randn(2, 3, 8, 8)


@pytest.fixture(autouse=True)
def _globals_put_back() -> Iterator[None]:
    yield
    globals()["SCALE"] = globals()["by_text"] = values_in_a_module.FACTOR = 1.0
    SETTINGS.shift = 0.0


def _of_this_module(_: Reader) -> None:
    globals()["SCALE"] = 2.0


def _of_another_module(_: Reader) -> None:
    values_in_a_module.FACTOR = 3.0


def _of_a_global_object(_: Reader) -> None:
    SETTINGS.shift = 4.0


def _of_a_held_object(model: Reader) -> None:
    model.options.gain = 5.0


def _of_an_object_in_it(model: Reader) -> None:
    model.options.inner.bias = 6.0


def _another_object(model: Reader) -> None:
    model.options = Options()
    model.options.gain = 7.0


CHANGES = [
    *(_of_this_module, _of_another_module, _of_a_global_object),
    *(_of_a_held_object, _of_an_object_in_it, _another_object),
]


def runs_a_graph(model: Any) -> bool:
    return model.graph_for((X,), {}) is not None


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_counts_from_the_next_call_on(change: Any) -> None:
    original = Reader()
    model: Any = fxbin.transform(original, config(2, 3, 8, 8))
    assert runs_a_graph(model)
    before = original(X)
    change(model)
    change(original)
    assert not torch.equal(original(X), before)
    for changed in (model, copy.deepcopy(model)):
        assert torch.equal(changed(X), original(X))
        assert not runs_a_graph(changed)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_counts_under_torch_compile(change: Any) -> None:
    original = Reader()
    model: Any = fxbin.transform(original, config(2, 3, 8, 8))
    compiled: Any = torch.compile(model, backend="aot_eager")
    assert torch.allclose(compiled(X), original(X))
    change(model)
    change(original)
    assert torch.allclose(compiled(X), original(X))


def test_a_copy_goes_by_its_own_object() -> None:
    model: Any = fxbin.transform(Reader(), config(2, 3, 8, 8))
    copied = copy.deepcopy(model)
    model.options.gain = 2.0
    assert runs_a_graph(copied)
    assert torch.equal(copied(X), Reader()(X))


def test_what_the_code_does_not_read_changes_nothing() -> None:
    model: Any = fxbin.transform(Reader(), config(2, 3, 8, 8))
    model.options.something = 1
    SETTINGS.names.append("x")
    assert runs_a_graph(model)


def test_a_global_variable_with_the_name_of_an_attribute_is_none_that_the_code_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = fxbin.transform(Reader(), config(2, 3, 8, 8))
    monkeypatch.setitem(globals(), "options", model)  # as `model = fxbin.transform(model, ...)` does
    assert runs_a_graph(model)


def test_a_global_variable_that_code_only_sets_is_one_that_it_names() -> None:
    def code(net: Reader) -> float:
        global SCALE  # noqa: PLW0603
        SCALE = net.options.gain
        return values_in_a_module.FACTOR

    assert global_names(code.__code__) == {"SCALE", "values_in_a_module"}


class ImportsModule(Reader):
    def forward(self, x: Tensor) -> Tensor:
        from tests import values_in_a_module as own

        y: Tensor = self.conv(x) * own.FACTOR
        return y


class ImportsValue(Reader):
    def forward(self, x: Tensor) -> Tensor:
        from .values_in_a_module import FACTOR

        y: Tensor = self.conv(x) * FACTOR
        return y


class ImportsByPath(Reader):
    def forward(self, x: Tensor) -> Tensor:
        import tests.values_in_a_module

        y: Tensor = self.conv(x) * tests.values_in_a_module.FACTOR
        return y


class CallsInModule(Reader):
    def forward(self, x: Tensor) -> Tensor:
        return values_in_a_module.scaled(self.conv(x))


class ImportsFunction(Reader):
    def forward(self, x: Tensor) -> Tensor:
        from tests.values_in_a_module import scaled

        return scaled(self.conv(x))


@pytest.mark.parametrize("make", [ImportsModule, ImportsValue, ImportsByPath, CallsInModule, ImportsFunction])
def test_a_value_of_a_module_that_the_code_imports_itself_counts(make: type[Reader]) -> None:
    model: Any = fxbin.transform(make(), config(2, 3, 8, 8))
    before = model(X)
    assert runs_a_graph(model)
    values_in_a_module.FACTOR = 2.0
    assert torch.equal(model(X), 2 * before)
    assert not runs_a_graph(model)


class ByText(Reader):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) * globals()["by_text"]
        return y


def test_a_global_variable_that_code_looks_up_by_its_text_counts() -> None:
    model: Any = fxbin.transform(ByText(), config(2, 3, 8, 8))
    before = model(X)
    assert runs_a_graph(model)
    globals()["by_text"] = 2.0
    assert torch.equal(model(X), 2 * before)
    assert not runs_a_graph(model)
