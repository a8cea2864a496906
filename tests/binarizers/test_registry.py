import pytest
import torch
from torch import Tensor

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
        assert (activation.channels, activation.scale_init) == (3, "mse")
        assert (activation.threshold_init, activation.init_batches) == ("mse", 4)


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


def test_unknown_mode_lists_names_and_near_misses() -> None:
    message = r"mode: 'dorfea' is not a binarizer\. Did you mean 'dorefa'\? Known: dorefa, xnor"
    with pytest.raises(ConfigError, match=message):
        make_weight_binarizer("dorfea", SHAPE, Params())
    with pytest.raises(ConfigError, match=message):
        make_activation_binarizer("dorfea", 3, Params())


def test_weight_that_is_not_of_a_conv2d_is_an_error() -> None:
    with pytest.raises(TransformError, match="expected a conv2d weight"):
        make_weight_binarizer("xnor", (8, 3, 3), Params())
