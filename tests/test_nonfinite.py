import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.diagnostics.nonfinite import first_nonfinite
from fxbin.errors import TraceError, TransformError
from tests.transforming import SMALL, Small


def x() -> Tensor:
    return torch.rand(4, 3, 8, 8)


@pytest.fixture
def model() -> BinarizedModule:
    binarized = fxbin.transform(Small(), SMALL)
    binarized.binarization.enable(activations=True, weights=True)
    binarized(x())
    return binarized


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_found_and_nothing_changes_where_all_is_finite(
    model: BinarizedModule, training: bool
) -> None:
    model.train(training)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    batch = torch.ones(4, 3, 8, 8)
    assert first_nonfinite(model, batch) is None
    assert first_nonfinite(model, x=batch) is None
    assert torch.equal(torch.get_rng_state(), random)
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)


def test_a_scale_that_waits_for_its_first_batch_goes_on_waiting() -> None:
    model = fxbin.transform(Small(), SMALL).train()
    model.binarization.enable(activations=True, weights=True)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert first_nonfinite(model, x()) is None
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)
    assert all(site.activation.awaits_first_batch for site in model.binarization.sites.values())


def test_an_input_is_named(model: BinarizedModule) -> None:
    batch = x()
    batch[1, 2, 3, 4] = math.nan
    assert first_nonfinite(model, batch) == "the input 'x'"


def test_a_parameter_is_named(model: BinarizedModule) -> None:
    model.get_parameter("conv2.weight").data[0, 0, 0, 0] = math.inf
    assert first_nonfinite(model, x()) == "the parameter or buffer 'conv2.weight'"


def test_the_layer_that_makes_it_is_named(model: BinarizedModule) -> None:
    model.get_parameter("bn.bias").data[0] = 3e38
    model.get_parameter("bn.weight").data[0] = 3e38
    assert first_nonfinite(model, x()) == "Small/NNCFBatchNorm2d[bn]/batch_norm_0"


def test_spoilt_running_statistics_are_found_in_eval_mode(model: BinarizedModule) -> None:
    model.get_buffer("bn.running_mean")[0] = math.nan
    assert first_nonfinite(model.train(), x()) is None
    assert first_nonfinite(model.eval(), x()) == "Small/NNCFBatchNorm2d[bn]/batch_norm_0"


def test_inputs_go_to_the_arguments_that_they_are_given_for() -> None:
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(
            self, x: Tensor, factor: float = 2.0, *more: Tensor, b: Tensor, **named: Tensor
        ) -> Tensor:
            y: Tensor = self.conv(x) * factor + 1 / b
            return y + sum(more) + sum(named.values())

    x, zero, one = torch.rand(2, 3, 4, 4), torch.zeros(1), torch.ones(1)
    for args, kwargs in (
        ((x,), {}),
        ((x, 2.0), {}),
        ((x, 2.0, one), {}),
        ((x, 2.0, one), {"c": one}),
        ((), {"x": x, "c": one}),
    ):
        model = fxbin.transform(Adds(), SMALL, args, example_kwargs={"b": one, **kwargs})
        assert first_nonfinite(model, *args, b=one, **kwargs) is None
        found = first_nonfinite(model, *args, b=zero, **kwargs)
        assert found is not None
        assert found.endswith("__rtruediv___0")
        for name in ("b", *kwargs):
            given = {"b": one, **kwargs, name: one * math.nan}
            expected = "named" if name == "c" else name
            assert first_nonfinite(model, *args, **given) == f"the input '{expected}'"


def test_a_dataclass_of_tensors_is_looked_into() -> None:
    @dataclass
    class Pair:
        left: Tensor
        right: Tensor

    class Divides(nn.Module):
        def forward(self, x: Tensor) -> Pair:
            return Pair(x, 1 / x)

    class Paired(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.divides = nn.Conv2d(3, 3, 1), Divides()

        def forward(self, x: Tensor) -> Tensor:
            pair: Pair = self.divides(self.conv(x) * 0)
            return pair.left

    model = fxbin.transform(Paired(), SMALL, leaf_modules=(Divides,))
    assert first_nonfinite(model, x()) is not None


class Shifts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        y: Tensor = self.conv(x[:, :, 1:]) if x.shape[2] > 7 else self.conv(x)
        return y if shift is None else y / shift


def test_a_call_that_has_no_graph_is_refused_and_one_of_other_calls_is_searched() -> None:
    x, zero = torch.rand(2, 3, 8, 8), torch.zeros(1)
    model = fxbin.transform(Shifts(), SMALL)
    assert isinstance(model, BinarizedModule)
    with pytest.raises(
        TransformError, match=r"Shifts: it was transformed for calls with other.*other_calls="
    ):
        first_nonfinite(model, x, shift=zero)
    assert first_nonfinite(model, x) is None
    model = fxbin.transform(Shifts(), SMALL, (x,), other_calls=[((x, zero), {})])
    assert isinstance(model, BinarizedModule)
    assert str(first_nonfinite(model, x, shift=zero)).startswith("Shifts/__truediv__")


def test_an_error_of_the_graph_has_the_message_that_it_has_in_a_call() -> None:
    model = fxbin.transform(Shifts(), SMALL)
    assert isinstance(model, BinarizedModule)
    x = torch.rand(2, 3, 6, 6)
    with pytest.raises(TraceError) as in_call:
        model(x)
    with pytest.raises(TraceError) as in_search:
        first_nonfinite(model, x)
    assert str(in_search.value) == str(in_call.value)
