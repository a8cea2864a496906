from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxbin.errors import TraceError
from tests.tracing.running import traced

Pair = namedtuple("Pair", ["left", "right"])


@dataclass
class Output:
    logits: Tensor
    aux: Tensor | None = None
    count: int = 3


class Containers(nn.Module):
    def forward(self, batch: dict[str, Any], scale: float = 2.0, *, mask: Tensor | None = None) -> Any:
        y = batch["x"] * scale + batch["out"].logits
        if mask is not None:
            y = y * mask
        return (
            Output(y, batch["list"][0]),
            Pair(y, batch["pair"].right),
            OrderedDict(y=y),
            {"k": [y, (y, 3)], "pair": Pair(y, Pair(1, y))},
        )


def example(batch: int) -> dict[str, Any]:
    x = torch.rand(batch, 3)
    return {"x": x, "out": Output(x + 1), "list": [x + 2], "pair": Pair(x, x + 3)}


def test_containers_keep_their_types() -> None:
    model = Containers()
    graph = traced(model, example(1), mask=torch.ones(1, 3))
    batch, mask = example(2), torch.rand(2, 3)
    found, expected = graph(batch, mask=mask), model(batch, mask=mask)
    assert [type(item) for item in found] == [Output, Pair, OrderedDict, dict]
    assert torch.equal(found[0].logits, expected[0].logits)
    assert found[0].count == 3
    assert torch.equal(found[1].right, batch["pair"].right)
    assert found[3]["k"][1] == (found[1].left, 3)
    assert found[3]["pair"] == Pair(found[1].left, Pair(1, found[1].left))


class Parcel(nn.Module):
    def forward(self, parcel: Any) -> Pair:
        while type(parcel) is not Pair:
            parcel = parcel["pair"] if isinstance(parcel, dict) else parcel[0]
        return Pair(parcel.right, parcel.left)


@pytest.mark.parametrize(
    "pack",
    [lambda pair: pair, lambda pair: [pair], lambda pair: (pair, 3), lambda pair: {"pair": Pair(pair, 1)}],
    ids=["alone", "in a list", "in a tuple", "in a dict"],
)
def test_named_tuples_keep_their_type_wherever_they_go(pack: Callable[[Pair], Any]) -> None:
    class Packs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parcel = Parcel()

        def forward(self, x: Tensor) -> Any:
            return pack(self.parcel(pack(Pair(x * 2, x))))

    model, x = Packs(), torch.rand(2, 3)
    found, expected = traced(model, x, leaf_modules=(Parcel,))(x), model(x)
    assert str(found) == str(expected)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((3.0,), {"mask": torch.ones(1)}, "the argument 'scale' = 2.0, and now it is 3.0"),
        ((), {}, "a tensor as the argument 'mask', and now it is None"),
    ],
)
def test_argument_that_the_code_was_not_followed_for_is_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    graph = traced(Containers(), example(1), mask=torch.ones(1, 3))
    with pytest.raises(TraceError, match=message):
        graph(example(2), *args, **kwargs)


def test_argument_left_out_while_tracing_keeps_its_default() -> None:
    graph = traced(Containers(), example(1))
    with pytest.raises(TraceError, match="the argument 'mask' = None, and now it is"):
        graph(example(2), mask=torch.ones(2, 3))


def test_part_that_was_not_there_while_tracing_is_refused() -> None:
    graph = traced(Containers(), example(1))
    with pytest.raises(TraceError, match=r"len\(batch\) = 4, and now it is 5"):
        graph({**example(1), "more": torch.ones(1)})


class Many(nn.Module):
    def forward(self, *xs: Tensor, **named: Tensor) -> Tensor:
        return sum(xs, start=named["start"])


def test_any_number_of_inputs_is_the_number_while_tracing() -> None:
    graph = traced(Many(), torch.ones(1), torch.ones(1), start=torch.zeros(1))
    assert torch.equal(graph(torch.ones(2), torch.ones(2), start=torch.ones(2)), torch.full((2,), 3.0))
    with pytest.raises(TraceError, match="= 2, and now it is 3"):
        graph(*torch.ones(3, 2), start=torch.ones(2))


class Boxed:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Boxes(nn.Module):
    def forward(self, x: Any) -> Any:
        return Boxed(x * 2) if isinstance(x, Tensor) else x.tensor * 2


def test_objects_with_tensors_inside_are_refused_by_name() -> None:
    with pytest.raises(TraceError, match="input of type Boxed holds tensors"):
        traced(Boxes(), Boxed(torch.ones(1)))
    with pytest.raises(TraceError, match="type Boxed holds tensors of this run"):
        traced(Boxes(), torch.ones(1))


def test_inputs_that_do_not_fit_are_refused_before_anything_runs() -> None:
    with pytest.raises(TraceError, match=r"2 positional and \['more'\] keyword inputs do not fit"):
        traced(Boxes(), torch.ones(1), torch.ones(1), more=1)


def test_channels_that_do_not_fit_are_refused_with_line_and_option() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(
        TraceError, match=r"Sequential cannot be traced with inputs \(\(1, 5, 2, 2\),\).*input_info"
    ):
        traced(model, torch.ones(1, 5, 2, 2))


class RequiresLate(nn.Module):
    """Requires a keyword behind arguments that may be left out."""

    def forward(
        self, x: Tensor, mask: Tensor | None = None, sizes: tuple[int, ...] = (), *, scale: Tensor
    ) -> Tensor:
        assert mask is None
        return x * scale + len(sizes)


def test_required_argument_behind_an_optional_one() -> None:
    x, scale = torch.rand(2, 3), torch.rand(1)
    graph = traced(RequiresLate(), x, None, (1, 2), scale=scale)
    assert torch.equal(graph(x, None, (1, 2), scale=scale), x * scale + 2)
    with pytest.raises(TypeError, match="missing 1 required argument: 'scale'"):
        graph(x, None, (1, 2))


@dataclass(frozen=True)
class Doubled:
    x: Tensor
    twice: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", self.x + 1)
        object.__setattr__(self, "twice", self.x * 2)


class MakesDoubled(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Doubled]:
        return {"made": Doubled(x)}


def test_dataclass_that_computes_its_fields_computes_them_once() -> None:
    found = traced(MakesDoubled(), torch.rand(1, 3))(torch.zeros(2, 3))["made"]
    assert type(found) is Doubled
    assert torch.equal(found.x, torch.ones(2, 3))
    assert torch.equal(found.twice, torch.full((2, 3), 2.0))


class Yields(nn.Module):
    def forward(self, x: Tensor) -> Any:
        yield x


def test_forward_that_is_a_generator_is_refused() -> None:
    with pytest.raises(TraceError, match=r"forward returns a generator, .*: return a list"):
        traced(Yields(), torch.rand(1, 3))


def test_message_about_inputs_is_no_longer_than_it_must_be() -> None:
    with pytest.raises(TraceError, match=r"with inputs \(<class 'numpy.ndarray'>,\): ") as caught:
        traced(nn.Linear(3, 3), torch.rand(9, 9).numpy())
    assert len(str(caught.value)) < 800
