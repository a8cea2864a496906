"""A bug of fxbin is raised as it is; errors of a model, and those that Python raises, are the model's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.errors import TraceError
from fxbin.tracing import trace
from fxbin.tracing.patches.reached import check_replacements
from fxbin.tracing.recorder import expressions
from tests.tracing.running import traced

CONFIG = {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": {"algorithm": "binarization"}}


class Large(nn.Module):
    """Asks for a size, which a tracer describes in words."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] > 7:
            x = torch.relu(x)
        y: Tensor = self.conv(x)
        return y


class _Broken:
    """A table that says it has every entry. Written in C, `dict` leaves no frame of its own."""

    def __contains__(self, name: object) -> bool:
        return True

    __getitem__: Any = {}.__getitem__


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a line of the recorder raise KeyError in the middle of each trace without data."""
    check_replacements()  # it would blame torch
    monkeypatch.setattr(expressions, "_SYMBOLS", _Broken())
    monkeypatch.delenv("FXBIN_TOLERANT", raising=False)


@pytest.mark.usefixtures("broken")
def test_a_bug_surfaces_as_itself_and_says_how_to_report_it() -> None:
    with pytest.raises(KeyError, match="gt") as raised:
        fxbin.transform(nn.Sequential(Large(), Large()), CONFIG)
    (note,) = raised.value.__notes__
    assert "bug in fxbin" in note
    assert "FXBIN_TOLERANT=1" in note


@pytest.mark.usefixtures("broken")
def test_a_bug_surfaces_from_a_later_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "_SYMBOLS", {"gt": ">"})
    model = fxbin.transform(nn.Sequential(Large(), Switched()), CONFIG).train()
    monkeypatch.setattr(expressions, "_SYMBOLS", _Broken())
    model.get_submodule("1").eval()
    with pytest.raises(KeyError, match="gt"):
        model(torch.zeros(1, 3, 8, 8))


class Switched(nn.Module):
    """Asks for its mode, so that another graph is traced where it is switched by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, self.training)


@pytest.mark.usefixtures("broken")
def test_a_bug_makes_islands_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXBIN_TOLERANT", "1")
    with pytest.warns(RuntimeWarning, match=r"bug in fxbin, .*report it: KeyError: 'gt' \(at .*expressions"):
        model = fxbin.transform(nn.Sequential(Large(), Large()), CONFIG)
    islands = fxbin.summary(model).islands
    assert [island.owner for island in islands] == ["", "0", "1"]
    assert all("KeyError" in island.reason for island in islands)


def _zero(x: Tensor) -> Any:
    return x.shape[0] // (x.shape[1] - 3)


def _past_the_end(x: Tensor) -> Any:
    return x.shape[7]


def _no_number(_: Tensor) -> Any:
    return int("seven")


def _no_length(_: Tensor) -> Any:
    return len(3)  # type: ignore[arg-type]


def _wrong_shape(x: Tensor) -> Any:
    return nn.functional.conv2d(x, torch.ones(1, 1, 1, 1))


def _text_of_size(x: Tensor) -> Any:
    return x.shape[0] + "0"  # type: ignore[operator]


def _attribute_of_size(x: Tensor) -> Any:
    return x.shape[0].__iter__  # type: ignore[attr-defined]


def _class_of_nothing(_: Tensor) -> Any:
    return type("Class", (int, str), {})


def _finfo_of_integers(_: Tensor) -> Any:
    return torch.finfo(torch.int64)


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()


def _too_many(x: Tensor) -> Any:
    return _Function.apply(x, x)  # type: ignore[no-untyped-call]


RAISED: dict[Callable[[Tensor], Any], type[Exception]] = {
    _zero: ZeroDivisionError,
    _past_the_end: IndexError,
    _no_number: ValueError,
    _no_length: TypeError,
    _wrong_shape: RuntimeError,
    _text_of_size: TypeError,
    _attribute_of_size: AttributeError,
    _class_of_nothing: TypeError,
    _finfo_of_integers: TypeError,
    _too_many: TypeError,
}


class Calling(nn.Module):
    """Runs some code, which raises."""

    def __init__(self, code: Callable[[Tensor], Any], caught: type[Exception] | tuple[()] = ()) -> None:
        super().__init__()
        self.code, self.caught = code, caught

    def forward(self, x: Tensor) -> Tensor:
        try:
            self.code(x)
        except self.caught:
            x = -x
        return x


@pytest.mark.parametrize("code", RAISED, ids=lambda code: code.__name__)
def test_what_python_and_torch_raise_is_the_models_own(code: Callable[[Tensor], Any]) -> None:
    x = torch.ones(1, 3, 8, 8)
    with pytest.raises(RAISED[code]):
        Calling(code)(x)
    with pytest.raises(TraceError, match=RAISED[code].__name__):
        trace(Calling(code), (x,), {}, training=False)


@pytest.mark.parametrize("code", RAISED, ids=lambda code: code.__name__)
def test_code_may_catch_what_python_and_torch_raise(code: Callable[[Tensor], Any]) -> None:
    x = torch.ones(1, 3, 8, 8)
    assert torch.equal(traced(Calling(code, RAISED[code]), x)(x), -x)


class _Early(nn.Module):
    """Has a `__call__` of its own, which takes nothing."""

    def __call__(self) -> None:
        raise AssertionError

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_call_that_does_not_fit_is_the_models_own() -> None:
    with pytest.raises(TraceError, match="TypeError"):
        trace(_Early(), (torch.ones(1),), {}, training=False)


class _Deep(nn.Module):
    """Calls itself until Python gives up, wherever that is."""

    def forward(self, x: Tensor) -> Tensor:
        return self.forward(torch.relu(x))


def test_a_recursion_without_end_is_the_models_own() -> None:
    with pytest.raises(TraceError, match="RecursionError"):
        trace(_Deep(), (torch.ones(1),), {}, training=False)
