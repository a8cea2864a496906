from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxbin.binarizers import (
    ActivationBinarizer,
    DoReFaWeightBinarizer,
    WeightBinarizer,
    XNORWeightBinarizer,
    activation_binarizer_names,
    make_activation_binarizer,
    make_weight_binarizer,
    register_activation_binarizer,
    register_weight_binarizer,
    registry,
    weight_binarizer_names,
)
from fxbin.binarizers.activation_levels import ZeroScale
from fxbin.config import Params
from fxbin.errors import ConfigError, TransformError

SHAPE = (8, 3, 3, 3)


@pytest.fixture
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations of a test end with it."""
    monkeypatch.setattr(registry, "_weight_factories", dict(registry._weight_factories))
    monkeypatch.setattr(registry, "_activation_factories", dict(registry._activation_factories))


class UnitScale(WeightBinarizer):
    """Weights of -1 and +1."""

    def scale(self, w: Tensor) -> Tensor:
        return torch.ones_like(w[:1, :1, :1, :1])


def test_built_in_modes_and_their_options() -> None:
    assert set(weight_binarizer_names()) >= {"xnor", "dorefa"}
    assert set(activation_binarizer_names()) >= {"xnor", "dorefa"}
    xnor = make_weight_binarizer("xnor", SHAPE, Params(weight_scale_axis="input"))
    assert isinstance(xnor, XNORWeightBinarizer)
    assert xnor.scale_axis == "input"
    assert isinstance(make_weight_binarizer("dorefa", SHAPE, Params()), DoReFaWeightBinarizer)
    for mode in ("xnor", "dorefa"):
        params = Params(
            activation_scale_init="mse", activation_threshold_init="mse", activation_init_batches=4
        )
        activation = make_activation_binarizer(mode, 3, params)
        assert (activation.channels, activation.init_batches) == (3, 4)
        assert activation.rule == ZeroScale("mse", "mse")


@pytest.mark.usefixtures("_own_registry")
def test_registered_weight_binarizer_is_found_and_keeps_the_default_activation_binarizer() -> None:
    register_weight_binarizer("unit")(lambda _shape, _params: UnitScale())
    assert "unit" in weight_binarizer_names()
    assert isinstance(make_weight_binarizer("unit", SHAPE, Params()), UnitScale)
    assert type(make_activation_binarizer("unit", 3, Params())) is ActivationBinarizer


@pytest.mark.usefixtures("_own_registry")
def test_registered_activation_binarizer_replaces_the_default_of_its_mode() -> None:
    class Wide(ActivationBinarizer):
        pass

    register_weight_binarizer("wide")(lambda _shape, _params: UnitScale())
    register_activation_binarizer("wide")(lambda channels, _params: Wide(channels))
    assert isinstance(make_activation_binarizer("wide", 3, Params()), Wide)


@pytest.mark.usefixtures("_own_registry")
def test_name_taken_twice_is_an_error() -> None:
    with pytest.raises(ConfigError, match="weight binarizer 'xnor' is registered already"):
        register_weight_binarizer("xnor")(lambda _shape, _params: UnitScale())
    with pytest.raises(ConfigError, match="activation binarizer 'xnor' is registered already"):
        register_activation_binarizer("xnor")(lambda channels, _params: ActivationBinarizer(channels))


@pytest.mark.usefixtures("_own_registry")
def test_the_same_definition_again_replaces_the_one_before() -> None:
    def cell(value: float) -> type[WeightBinarizer]:
        @register_weight_binarizer("cell")
        class Cell(UnitScale):
            def __init__(self, _shape: Any, _params: Params) -> None:
                super().__init__()

            def scale(self, w: Tensor) -> Tensor:
                return super().scale(w) * value

        return Cell

    first, second = cell(1.0), cell(2.0)
    assert type(make_weight_binarizer("cell", SHAPE, Params())) is second is not first
    with pytest.raises(ConfigError, match="weight binarizer 'cell' is registered already"):
        register_weight_binarizer("cell")(lambda _shape, _params: UnitScale())
    for _ in range(2):
        register_activation_binarizer("cell")(partial(make_wide, "cell"))
    with pytest.raises(ConfigError, match="activation binarizer 'cell' is registered already"):
        register_activation_binarizer("cell")(partial(make_narrow, "cell"))


def make_wide(_mode: str, channels: int, _params: Params) -> ActivationBinarizer:
    return ActivationBinarizer(channels)


def make_narrow(_mode: str, _channels: int, _params: Params) -> ActivationBinarizer:
    return ActivationBinarizer(1)


class Flat(UnitScale):
    def scale(self, w: Tensor) -> Tensor:
        return w.abs().mean((1, 2, 3))


class Grown(UnitScale):
    def binarize(self, x: Tensor) -> Tensor:
        return x.unsqueeze(0)


class Broken(UnitScale):
    def binarize(self, x: Tensor) -> Tensor:
        return x @ torch.ones(7)


SHARED = UnitScale()
SHARED.name = "conv.weight"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            None,
            "factory for the weight must return an instance of WeightBinarizer, got None: it lacks a return",
        ),
        (UnitScale, "must return an instance of WeightBinarizer, got the class itself, not an instance"),
        (nn.ReLU(), "must return an instance of WeightBinarizer, got ReLU"),
        (ActivationBinarizer(3), "must return an instance of WeightBinarizer, got ActivationBinarizer"),
        (SHARED, "returned the binarizer of conv.weight again: it must make a new one at each call"),
        (Flat(), r"Flat\.scale gave \(8,\) for a weight \(8, 3, 3, 3\): expected one number, or four axes"),
        (Grown(), r"Grown\.binarize returned the shape \(1, 8, 3, 3, 3\) for a weight \(8, 3, 3, 3\)"),
        (Broken(), r"Broken\.binarize failed for a weight \(8, 3, 3, 3\): RuntimeError: size mismatch"),
    ],
)
@pytest.mark.usefixtures("_own_registry")
def test_what_a_weight_factory_must_not_give(made: Any, message: str) -> None:
    register_weight_binarizer("own")(lambda _shape, _params: made)
    before = torch.get_rng_state()
    with pytest.raises(TransformError, match=message):
        make_weight_binarizer("own", SHAPE, Params())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.usefixtures("_own_registry")
def test_a_scale_that_would_line_up_with_another_axis_is_refused() -> None:
    # (3,) broadcasts to (3, 3, 3, 3) along the width of the kernel, without an error of torch.
    register_weight_binarizer("flat")(lambda _shape, _params: Flat())
    with pytest.raises(TransformError, match=r"gave \(3,\) for a weight \(3, 3, 3, 3\)"):
        make_weight_binarizer("flat", (3, 3, 3, 3), Params())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            None,
            "for the activation must return an instance of ActivationBinarizer, got None: it lacks a return",
        ),
        (UnitScale(), "must return an instance of ActivationBinarizer, got UnitScale"),
        (
            ActivationBinarizer(1),
            "was called with 3 channels and returned a binarizer with 1: it must pass the",
        ),
    ],
)
@pytest.mark.usefixtures("_own_registry")
def test_what_an_activation_factory_must_not_give(made: Any, message: str) -> None:
    register_weight_binarizer("own")(lambda _shape, _params: UnitScale())
    register_activation_binarizer("own")(lambda _channels, _params: made)
    with pytest.raises(TransformError, match=f"mode: 'own': .*{message}"):
        make_activation_binarizer("own", 3, Params())


@pytest.mark.usefixtures("_own_registry")
def test_what_does_not_take_a_factorys_arguments_is_refused_at_once() -> None:
    message = (
        r"'unit': expected a function of \(weight_shape, params\) .*lambda weight_shape, params: UnitScale\("
    )
    with pytest.raises(ConfigError, match=message):
        register_weight_binarizer("unit")(UnitScale)  # type: ignore[type-var]
    assert "unit" not in weight_binarizer_names()


def test_unknown_mode_lists_names_and_near_misses() -> None:
    message = r"mode: 'dorfea' is not a binarizer\. Did you mean 'dorefa'\? Known: dorefa, xnor"
    with pytest.raises(ConfigError, match=message):
        make_weight_binarizer("dorfea", SHAPE, Params())
    with pytest.raises(ConfigError, match=message):
        make_activation_binarizer("dorfea", 3, Params())


def test_weight_that_is_not_of_a_conv2d_is_an_error() -> None:
    with pytest.raises(TransformError, match="expected a conv2d weight"):
        make_weight_binarizer("xnor", (8, 3, 3), Params())
