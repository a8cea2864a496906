"""The sections `activations` and `weights`: what is accepted, and what errors say."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import fxbin
from fxbin.binarizers import parts, registry
from fxbin.binarizers.estimators import EDE, ApproxSign
from fxbin.binarizers.latent import Standardize
from fxbin.config import load_config
from fxbin.errors import ConfigError
from tests.compositions import COMPOSITIONS

KNOWN = "approx_sign, clipped, ede, reste, straight_through, swish_sign, window"


def config(**sections: Any) -> dict[str, Any]:
    return {
        "input_info": {"sample_size": [1, 3, 8, 8]},
        "compression": {"algorithm": "binarization", **sections},
    }


@pytest.mark.parametrize("sections", COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_a_config_with_parts_survives_being_written(sections: dict[str, Any]) -> None:
    loaded = load_config(config(**sections))
    assert load_config(loaded.to_dict()) == loaded


def test_options_reach_the_parts() -> None:
    section = {"levels": "sign", "estimator": {"name": "ede", "t_max": 5}}
    model = fxbin.transform(
        nn.Conv2d(3, 4, 3), config(activations=section, weights={"latent": "standardize"})
    )
    (site,) = model.binarization.sites.values()
    assert site.activation.estimator == EDE(t_max=5)
    assert site.weight.latent == Standardize()
    assert site.weight.mode_key == "mode_xnor_filter_mean_standardize"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"activations": {"estimator": "aprox_sign"}},
            f'compression.activations.estimator: got "aprox_sign", expected one of {KNOWN}.',
        ),
        (
            {"activations": {"estimator": "aprox_sign"}},
            "'aprox_sign' is not one of the estimators. Did you mean 'approx_sign'?",
        ),
        (
            {"activations": {"estimator": {"name": "ede", "t_maximum": 3}}},
            "compression.activations.estimator.t_maximum: ",
        ),
        (
            {"activations": {"estimator": {"name": "ede", "t_maximum": 3}}},
            't_maximum: got 3, expected an option of "ede": t_max, t_min. Did you mean "t_max"?',
        ),
        (
            {"activations": {"estimator": {"name": "ede", "t_max": "high"}}},
            "compression.activations.estimator.t_max",
        ),
        (
            {"activations": {"estimator": {"name": "ede", "t_max": -1.0}}},
            "compression.activations.estimator.t_max: got -1.0, expected a finite number above 0. Leave",
        ),
        (
            {"activations": {"levels": {"scale_init": "mse"}}},
            'Add the key "name": one of free, sign, zero_scale.',
        ),
        ({"activations": {"levels": 3}}, "compression.activations.levels: got 3, expected one of free, sign"),
        ({"weights": {"latent": None}}, "compression.weights.latent: got null"),
        ({"weights": {"latents": "center"}}, 'Did you mean "latent"?'),
        (
            {"rewrites": ["rprelu", "shortcuts", "rprelu"]},
            'compression.rewrites[2]: got "rprelu", expected each rewrite once. Remove the second one.',
        ),
        ({"activations": {"mode": "xnro"}}, "compression.activations.mode: "),
    ],
)
def test_mistakes_are_named(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(config(**sections))
    assert message in str(error.value)


@pytest.fixture
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.estimators, "_parts", dict(parts.estimators._parts))
    monkeypatch.setattr(registry, "_weight_factories", dict(registry._weight_factories))


@pytest.mark.usefixtures("_own_registry")
def test_an_estimator_of_ones_own_has_options_and_trains() -> None:
    @fxbin.register_estimator("triangle")
    @dataclass(frozen=True)
    class Triangle(fxbin.Estimator):
        height: float = 1.0

        def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
            return self.height * (1 - u.abs()).clamp(min=0)

    def gradient(estimator: Any) -> Tensor:
        torch.manual_seed(0)
        sections = {"activations": {"levels": "sign", "estimator": estimator}}
        model = fxbin.transform(nn.Conv2d(3, 4, 3), config(**sections))
        model.binarization.enable()
        x = torch.randn(2, 3, 8, 8, requires_grad=True)
        (grad,) = torch.autograd.grad(model(x).sum(), x)
        return grad

    twice = gradient({"name": "triangle", "height": 2.0})
    assert_close(twice, gradient("approx_sign"))  # which takes other steps
    assert torch.equal(twice, 2 * gradient("triangle"))
    with pytest.raises(ConfigError, match="'approx_sign' is one of the estimators already"):
        fxbin.register_estimator("approx_sign")(Triangle)
    with pytest.raises(ConfigError, match="expected a dataclass derived from Estimator"):
        fxbin.register_estimator("none")(int)
    assert fxbin.register_estimator("approx_sign")(ApproxSign) is ApproxSign


@pytest.mark.usefixtures("_own_registry")
def test_parts_beside_a_mode_of_ones_own_are_refused_before_anything_changed() -> None:
    model = nn.Conv2d(3, 4, 3)
    fxbin.register_weight_binarizer("own_of_test_parts")(lambda _shape, _params: fxbin.XNORWeightBinarizer())
    with pytest.raises(
        ConfigError, match=r"compression.weights: the binarizer of mode 'own_of_test_parts' is not"
    ):
        fxbin.transform(model, config(mode="own_of_test_parts", weights={"latent": "center"}))
    assert [name for name, _ in model.named_children()] == []
