"""Mistakes in the parts that users register are found by `transform`, which names the part."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin import ActivationLevels, Estimator, LatentTransform, WeightLevels
from fxbin.binarizers import XNORWeightBinarizer, parts
from fxbin.binarizers.levels import Levels
from fxbin.binarizers.part_trial import try_activation_parts, try_weight_parts
from fxbin.config import Activations, Params, Weights
from fxbin.errors import ConfigError, TransformError

REGISTRIES: tuple[Any, ...] = (
    parts.activation_levels,
    parts.estimators,
    parts.weight_levels,
    parts.latent_transforms,
)
X, W = (1, 4, 8, 8), (3, 4, 3, 3)


@pytest.fixture(autouse=True)
def _no_traces() -> Iterator[None]:
    before = [dict(registry._parts) for registry in REGISTRIES]
    yield
    for registry, kept in zip(REGISTRIES, before, strict=True):
        registry._parts = kept


def try_out(part: Any) -> None:
    """Try the class `part` as a transform does, in a composition with built-in parts."""
    if issubclass(part, ActivationLevels):
        fxbin.register_activation_levels("own")(part)
        try_activation_parts(Params(), Activations(levels="own"), [X])
    elif issubclass(part, Estimator):
        fxbin.register_estimator("own")(part)
        try_activation_parts(Params(), Activations(estimator="own"), [X])
    elif issubclass(part, WeightLevels):
        fxbin.register_weight_levels("own")(part)
        try_weight_parts("xnor", Params(), Weights(levels="own"), [W])
    else:
        fxbin.register_latent_transform("own")(part)
        try_weight_parts("xnor", Params(), Weights(latent="own"), [W])


def assert_refused(part: Any, *texts: str) -> None:
    with pytest.raises(TransformError) as caught:
        try_out(part)
    for text in texts:
        assert text in str(caught.value)


@dataclass(frozen=True)
class OwnLevels(ActivationLevels):
    """Right as it is; tests override methods."""

    def parameters(self, channels: int) -> dict[str, Tensor]:
        return {"size": torch.ones(1), "move": torch.zeros(1, channels, 1, 1)}

    def of(self, parameters: Mapping[str, Tensor]) -> Levels:
        return Levels(parameters["move"], -parameters["size"], parameters["size"])

    def start(self, x: Tensor, site: str, alone: bool) -> dict[str, Tensor]:
        return {"size": x.abs().mean()}  # 0-d: copied to (1,)


@dataclass(frozen=True)
class OwnEstimator(Estimator):
    """Right as it is."""

    follows_progress: ClassVar[bool] = True

    def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
        assert progress is not None
        return (1 - progress * u.abs()).clamp(min=0)


@dataclass(frozen=True)
class OwnWeights(WeightLevels):
    """Right as it is."""

    is_by_filter: ClassVar[bool] = True

    def of(
        self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        return None, transformed.detach().abs().amax((1, 2, 3), keepdim=True)


@dataclass(frozen=True)
class OwnLatent(LatentTransform):
    """Right as it is."""

    def apply(self, w: Tensor, progress: Tensor | None) -> Tensor:
        return (w - 0.1).tanh()

    def threshold(self, w: Tensor) -> Tensor:
        return w.new_full((1, 1, 1, 1), 0.1)


@pytest.mark.parametrize("part", [OwnLevels, OwnEstimator, OwnWeights, OwnLatent])
def test_a_right_part_passes(part: Any) -> None:
    try_out(part)
    with torch.device("meta"), torch.inference_mode():
        try_out(part)


@pytest.mark.parametrize(
    ("threshold", "low", "text"),
    [
        ((1, 4, 1, 1), (1, 4, 1, 1), "returned a level `low` of the shape (1, 4, 1, 1)"),
        ((4,), (1,), "returned a threshold of the shape (4,)"),
    ],
)
def test_levels_of_a_wrong_shape(threshold: tuple[int, ...], low: tuple[int, ...], text: str) -> None:
    class Own(OwnLevels):
        def of(self, parameters: Mapping[str, Tensor]) -> Levels:
            return Levels(torch.zeros(threshold), -torch.ones(low), torch.ones(low))

    assert_refused(
        Own,
        f"compression.activations.levels 'own': Own.of {text} for an input (2, 4, 4, 5): expected",
        "(1,)." if low != (1,) else "of the shape (1, 4, 1, 1) or (1, 1, 1, 1).",
        "fxbin.ActivationLevels says",
    )


@pytest.mark.parametrize(
    ("started", "texts"),
    [
        ({"nosuch": torch.ones(1)}, ("Own.start returned a value for 'nosuch'", "('size', 'move')")),
        ({"size": torch.ones(3)}, ("a value for 'size' of the shape (3,)", "of the shape (1,)")),
        ({"size": 2.0}, ("returned 2.0 as a value for 'size'", "expected a tensor of the shape (1,).")),
        ({"size": torch.tensor([torch.nan])}, ("a value for 'size' with the value nan",)),
        ({"size": -torch.ones(1)}, ("the levels low = 1 and high = -1 after `start`", "the smaller one")),
        (None, ("Own.start returned None", "a dict of tensors")),
    ],
)
def test_a_wrong_start(started: Any, texts: tuple[str, ...]) -> None:
    class Own(OwnLevels):
        def start(self, x: Tensor, site: str, alone: bool) -> dict[str, Tensor]:
            return started  # type: ignore[no-any-return]

    assert_refused(Own, *texts)


@pytest.mark.parametrize("name", ["enabled", "rule", "a.b"])
def test_names_of_parameters_that_a_binarizer_cannot_have(name: str) -> None:
    class Own(OwnLevels):
        def parameters(self, channels: int) -> dict[str, Tensor]:
            return {name: torch.ones(1)}

    assert_refused(Own, f"Own.parameters returned the name {name!r}")


@pytest.mark.parametrize(
    ("returned", "texts"),
    [
        (lambda _u: None, ("Own.derivative returned None as a derivative",)),
        (lambda _u: 1.0, ("Own.derivative returned 1.0 as a derivative",)),
        (lambda _u: torch.tensor(1.0), ("a derivative of the shape ()", "of the shape (2, 4, 4, 5)")),
        (lambda u: u.double(), ("a derivative of torch.float64", "expected torch.float32")),
        (lambda u: 1 / u, ("a derivative with the value inf",)),
        (lambda u: u.nosuch, ("Own.derivative failed", "AttributeError", "fxbin.Estimator")),
    ],
)
def test_a_wrong_derivative(returned: Any, texts: tuple[str, ...]) -> None:
    @dataclass(frozen=True)
    class Own(Estimator):
        def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
            return returned(u)  # type: ignore[no-any-return]

    assert_refused(Own, "compression.activations.estimator 'own': ", *texts)
    with pytest.raises(TransformError, match=r"compression\.weights\.estimator 'own': Own\.derivative"):
        try_weight_parts("xnor", Params(), Weights(estimator="own"), [W])


@pytest.mark.parametrize(
    ("returned", "texts"),
    [
        (lambda w: (None, w.abs().mean((1, 2, 3))), ("a scale of the shape (3,)", "such as (3, 1, 1, 1)")),
        (lambda w: w.abs().mean(), ("returned a tensor of the shape ()", "the tuple (center, scale)")),
        (lambda w: (None, None), ("returned None as a scale",)),
        (lambda w: (None, -w.abs().amax((1, 2, 3), keepdim=True)), ("a scale of -", "0 or more")),
        (lambda w: (None, w.abs().mean((0, 2, 3), keepdim=True)), ("of the shape (1, 4, 1, 1)", "by_filter")),
        (lambda w: (w.mean(), w.abs().mean()), ("returned a center", "by_filter")),
    ],
)
def test_wrong_levels_of_weights(returned: Any, texts: tuple[str, ...]) -> None:
    class Own(OwnWeights):
        def of(
            self, w: Tensor, transformed: Tensor, parameters: Mapping[str, Tensor]
        ) -> tuple[Tensor | None, Tensor]:
            return returned(w)  # type: ignore[no-any-return]

    assert_refused(
        Own, "compression.weights.levels 'own': Own.of returned", "for a weight (3, 4, 3, 3)", *texts
    )


@pytest.mark.parametrize(
    ("apply", "texts"),
    [
        (lambda w: w - 0.1, ("where `threshold` returned 0", "above 0 exactly where the weight is above")),
        (lambda w: -w, ("where `threshold` returned 0",)),
        (lambda w: w.detach(), ("a weight without a gradient",)),
        (lambda w: w.double(), ("a weight of torch.float64",)),
        (lambda w: w.sum(1), ("a weight of the shape (3, 3, 3)",)),
    ],
)
def test_a_wrong_transformation(apply: Any, texts: tuple[str, ...]) -> None:
    class Own(OwnLatent):
        def apply(self, w: Tensor, progress: Tensor | None) -> Tensor:
            return apply(w)  # type: ignore[no-any-return]

        def threshold(self, w: Tensor) -> Tensor:
            return w.new_zeros(1, 1, 1, 1)

    assert_refused(Own, "compression.weights.latent 'own': Own.apply returned", *texts)


def test_a_derivative_of_zeros_and_ones_may_be_a_mask() -> None:
    @dataclass(frozen=True)
    class Own(Estimator):
        def derivative(self, u: Tensor, progress: Tensor | None) -> Tensor:
            return u.abs() <= 1

    try_out(Own)


def test_transform_tries_each_shape_once_and_changes_nothing_on_failure() -> None:
    tried = []

    @fxbin.register_latent_transform("own")
    class Own(OwnLatent):
        def apply(self, w: Tensor, progress: Tensor | None) -> Tensor:
            tried.append(tuple(w.shape))
            return w - 0.1 if len(tried) < 5 else w

    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    config = {
        "input_info": {"sample_size": [1, 4, 8, 8]},
        "compression": {"algorithm": "binarization", "weights": {"latent": "own"}},
    }
    fxbin.transform(model, config)
    assert {*tried} == {(4, 4, 3, 3), (2, 4, 1, 1)}
    assert len(tried) == 4  # once for the sign, once for the levels
    with pytest.raises(TransformError, match=r"'own': Own\.apply returned"):
        fxbin.transform(model, config)
    assert [*model.state_dict()] == [*before]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["", " ", "own ", None])
def test_a_name_that_no_config_can_have(name: Any) -> None:
    for register in (
        fxbin.register_estimator,
        fxbin.register_activation_levels,
        fxbin.register_weight_levels,
        fxbin.register_latent_transform,
    ):
        with pytest.raises(ConfigError, match="is no name that a config can have: expected text"):
            register(name)
    with pytest.raises(ConfigError, match=r"weight binarizer: .* is no name that a config can have"):
        fxbin.register_weight_binarizer(name)(lambda _shape, _params: XNORWeightBinarizer())
