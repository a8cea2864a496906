"""`fxbin.deploy` of layers and binarizers that run other code than that of their class."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarizers import ActivationBinarizer, WeightBinarizer
from fxbin.engine.library import Engine
from tests.changed_layers import KINDS, Layers, X, bound, hooked, layers, plus, transformed

CHANGES: dict[str, Callable[[Any], None]] = {"wrapped": plus, "bound": bound, "hooked": hooked}


def assert_deployed_as_it_is(model: Any) -> fxbin.DeployedModule:
    deployed = fxbin.deploy(model, (X,))
    torch.testing.assert_close(deployed(X), model(X), rtol=1e-4, atol=1e-5)
    return deployed


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", KINDS)
def test_other_code_of_a_layer_is_deployed(built: Engine, name: str, change: str) -> None:
    assert_deployed_as_it_is(layers(lambda m: CHANGES[change](getattr(m, name))))


@pytest.mark.parametrize("name", KINDS)
def test_code_that_a_layer_had_before_is_deployed(built: Engine, name: str) -> None:
    model = Layers()
    plus(getattr(model, name))
    assert_deployed_as_it_is(transformed(model))


@pytest.mark.parametrize("name", KINDS)
def test_patched_class_is_deployed(built: Engine, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, kind = layers(), KINDS[name]
    own: Any = kind.forward
    before = model(X)
    monkeypatch.setattr(kind, "forward", lambda self, x: own(self, x) + 0.3)
    assert not torch.allclose(model(X), before)
    assert_deployed_as_it_is(model)


OF_BINARIZERS: dict[str, Callable[[Any], Any]] = {
    "a hook": lambda b: b.register_forward_hook(lambda _b, _x, y: 2 * y),
    "a forward": lambda b: setattr(b, "forward", lambda x, own=b.forward: 2 * own(x)),
    "a binarize": lambda b: setattr(b, "binarize", lambda x, own=b.binarize: 2 * own(x)),
}
REASONS = {"a hook": "has hooks", "a forward": "forward was assigned", "a binarize": "binarize was assigned"}


@pytest.mark.parametrize("kind", ["activation", "weight"])
@pytest.mark.parametrize("change", OF_BINARIZERS)
def test_changed_binarizer_keeps_its_call_site_in_float(built: Engine, change: str, kind: str) -> None:
    model = layers(lambda m: OF_BINARIZERS[change](getattr(m.conv, f"{kind}_binarizer")))
    changed, other = assert_deployed_as_it_is(model).deployed_sites
    assert not changed.place
    assert REASONS[change] in changed.reason
    assert other.place


@pytest.mark.parametrize("change", ["a hook", "a forward"])
def test_changed_binarizer_counts_where_it_is_disabled(built: Engine, change: str) -> None:
    model = layers()
    model.binarization.enable(activations=False, weights=False)
    OF_BINARIZERS[change](model.conv.activation_binarizer)
    OF_BINARIZERS[change](model.conv.weight_binarizer)
    with pytest.warns(UserWarning, match="not fully binarized"):
        assert_deployed_as_it_is(model)


@pytest.mark.parametrize("kind", [ActivationBinarizer, WeightBinarizer])
def test_patched_class_of_binarizers_keeps_call_sites_in_float(
    built: Engine, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, own = layers(), kind.binarize
    monkeypatch.setattr(kind, "binarize", lambda self, x: 2 * own(self, x))
    assert not any(site.place for site in assert_deployed_as_it_is(model).deployed_sites)


def test_wrapper_that_no_copy_can_be_given_is_deployed(built: Engine) -> None:
    class Scale:
        """Code around a layer which deepcopy copies as a whole."""

        def __init__(self, layer: nn.Module) -> None:
            self.own = layer.forward

        def __call__(self, x: Tensor) -> Tensor:
            y: Tensor = 2 * self.own(x)
            return y

    assert_deployed_as_it_is(layers(lambda m: setattr(m.conv, "forward", Scale(m.conv))))
