"""The fused convolution for composed binarizers computes what its three steps compute, in fewer passes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from typing_extensions import override

from fxbin.binarizers import ActivationBinarizer, WeightBinarizer, XNORWeightBinarizer
from fxbin.binarizers import conv2d_two_levels as fused
from fxbin.binarizers.activation_levels import ActivationLevels, Free, Sign, ZeroScale
from fxbin.binarizers.composed_weight import ComposedWeightBinarizer
from fxbin.binarizers.conv2d import conv2d
from fxbin.binarizers.conv2d_fused import binarized_conv2d
from fxbin.binarizers.estimators import (
    EDE,
    ApproxSign,
    Clipped,
    Estimator,
    ReSTE,
    StraightThrough,
    SwishSign,
    Window,
)
from fxbin.binarizers.firing import FiringCount
from fxbin.binarizers.latent import Center, ClampQuantiles, LatentTransform, Standardize, Unchanged
from fxbin.binarizers.levels import Levels
from fxbin.binarizers.weight_levels import (
    CenterDistance,
    FilterMean,
    InputMean,
    Learned,
    One,
    PowerOfTwo,
    TensorMean,
    WeightLevels,
)
from fxbin.engine.library import Engine


@dataclass(frozen=True)
class Scalars(Sign):
    """Levels with parameters without axes."""

    @override
    def parameters(self, channels: int) -> dict[str, Tensor]:
        return {"low": torch.tensor(-0.5), "high": torch.tensor(0.5)}

    @override
    def of(self, parameters: Mapping[str, Tensor]) -> Levels:
        low, high = parameters["low"], parameters["high"]
        return Levels(((low + high) / 2).view(1, 1, 1, 1), low - 1, high + 1)


RULES = [Sign(), Sign(learned_scale=False), Free(), ZeroScale()]
SETTINGS: list[dict[str, Any]] = [
    {"padding": 1},
    {"stride": 2, "padding": (2, 0), "dilation": (1, 2)},
    {"groups": 2, "padding": 4},
]


def started(
    rule: ActivationLevels, multiplier: float | None = None, estimator: Estimator | None = None
) -> ActivationBinarizer:
    binarizer = ActivationBinarizer(6, rule, estimator or ApproxSign(), lr_multiplier=multiplier)
    binarizer.enable()
    if binarizer.follows_progress:
        binarizer.get_buffer("progress").fill_(0.4)
    with torch.no_grad():
        for parameter in binarizer.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    binarizer.scale_initialized.fill_(1)
    return binarizer


def composed(rule: WeightLevels, groups: int) -> WeightBinarizer:
    return ComposedWeightBinarizer((4, 6 // groups, 3, 3), rule, Clipped(), Center())


def found(run: Any, binarizers: tuple[ActivationBinarizer, WeightBinarizer], settings: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 6, 7, 9, generator=generator).requires_grad_()
    w = torch.randn(4, 6 // settings.get("groups", 1), 3, 3, generator=generator).requires_grad_()
    bias = torch.randn(4, generator=generator).requires_grad_()
    y = run(*binarizers, x, w, bias, **settings)
    inputs = (x, w, bias, *(p for b in binarizers for p in b.parameters()))
    return [y, *torch.autograd.grad(y, inputs, torch.randn(y.shape, generator=generator), allow_unused=True)]


def in_steps(
    activations: Any, weights: Any, x: Tensor, w: Tensor, bias: Tensor | None = None, **settings: Any
) -> Tensor:
    return conv2d(activations(x), weights(w), bias, **settings)


@pytest.fixture
def calls(built: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of the fused function."""
    made: list[Any] = []
    apply: Any = fused._Conv2d.apply

    def noted(*args: Any) -> Any:
        made.append(args[2] is not None)
        return apply(*args)

    monkeypatch.setattr(fused._Conv2d, "apply", noted)
    return made


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_outputs_and_gradients_are_those_of_the_steps(
    rule: ActivationLevels, settings: dict[str, Any], calls: list[Any]
) -> None:
    groups = settings.get("groups", 1)
    others = (composed(each, groups) for each in (Learned(), CenterDistance(), InputMean()))
    for weights in (XNORWeightBinarizer(), *others):
        weights.enable()
        binarizers = started(rule), weights
        for mine, its in zip(
            found(binarized_conv2d, binarizers, settings), found(in_steps, binarizers, settings), strict=True
        ):
            assert_close(mine, its, rtol=1e-4, atol=1e-4)
    assert calls == [True, True, True, False]  # a scale for each input channel is computed in float


@pytest.mark.parametrize(
    "estimator", [Window(0.6), SwishSign(3.0), EDE(), StraightThrough(), Clipped(0.5)], ids=repr
)
def test_every_estimator_of_activations_that_the_engine_knows(estimator: Estimator, calls: list[Any]) -> None:
    for rule in (Sign(), Free()):
        binarizers = started(rule, estimator=estimator), XNORWeightBinarizer()
        binarizers[1].enable()
        both = (found(run, binarizers, {"padding": 1}) for run in (binarized_conv2d, in_steps))
        for mine, its in zip(*both, strict=True):
            assert_close(mine, its, rtol=1e-4, atol=1e-4)
    assert calls == [True, True]


@pytest.mark.parametrize("latent", [Unchanged(), Standardize(), ClampQuantiles()], ids=repr)
@pytest.mark.parametrize(
    "estimator", [StraightThrough(), Clipped(0.5), Window(0.7), ApproxSign(), SwishSign(), EDE()], ids=repr
)
def test_every_estimator_of_weights_that_the_engine_knows(
    estimator: Estimator, latent: LatentTransform, calls: list[Any]
) -> None:
    activations = started(Sign())
    for rule in (FilterMean(), TensorMean(), Learned(), PowerOfTwo(), One(), CenterDistance()):
        weights = ComposedWeightBinarizer((4, 6, 3, 3), rule, estimator, latent)
        weights.enable()
        if weights.follows_progress:
            weights.get_buffer("progress").fill_(0.4)
        both = (found(run, (activations, weights), {}) for run in (binarized_conv2d, in_steps))
        for mine, its in zip(*both, strict=True):
            assert_close(mine, its, rtol=1e-4, atol=1e-4)
    assert calls == [True] * 6


def test_estimators_that_the_engine_does_not_know_are_left_to_the_steps(calls: list[Any]) -> None:
    plain = XNORWeightBinarizer()
    plain.enable()
    found(binarized_conv2d, (started(Sign(), estimator=ReSTE()), plain), {})
    assert calls == []
    weights = ComposedWeightBinarizer((4, 6, 3, 3), FilterMean(), ReSTE(), Unchanged())
    weights.enable()
    found(binarized_conv2d, (started(Sign()), weights), {})
    assert calls == [False]


def test_filter_mean_and_straight_through_are_the_mode_xnor_to_the_bit(calls: list[Any]) -> None:
    activations = started(Sign())
    runs = []
    for weights in (
        XNORWeightBinarizer(),
        ComposedWeightBinarizer((4, 6, 3, 3), FilterMean(), StraightThrough(), Unchanged()),
    ):
        weights.enable()
        runs.append(found(binarized_conv2d, (activations, weights), {"padding": 1}))
    assert all(map(torch.equal, *runs))


class LearnedMode(XNORWeightBinarizer):
    """A scale of a user's own, with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(1))

    def scale(self, w: Tensor) -> Tensor:
        """The mean times the parameter."""
        return super().scale(w) * self.factor


def test_a_scale_of_a_mode_gets_no_gradient(calls: list[Any]) -> None:
    weights = LearnedMode()
    weights.enable()
    for run in (binarized_conv2d, in_steps):
        found_here = found(run, (started(Sign()), weights), {})
        assert found_here[-1] is None
    assert calls == [True]


def test_parts_that_need_no_gradient_get_none(calls: list[Any]) -> None:
    activations, weights = started(Sign()), XNORWeightBinarizer()
    weights.enable()
    for parameter in activations.parameters():
        parameter.requires_grad_(False)
    x, w = torch.randn(2, 6, 5, 5), torch.randn(4, 6, 3, 3, requires_grad=True)
    expected = torch.autograd.grad(in_steps(activations, weights, x, w).sum(), w)
    assert_close(torch.autograd.grad(binarized_conv2d(activations, weights, x, w).sum(), w), expected)
    x.requires_grad_()
    y = binarized_conv2d(activations, weights, x, w.detach())
    expected = torch.autograd.grad(in_steps(activations, weights, x, w).sum(), x)
    assert_close(torch.autograd.grad(y.sum(), x), expected)
    assert calls == [True, True]


@pytest.mark.parametrize("name", ["scale", "shift"])
def test_one_parameter_of_the_levels_is_trained_without_the_other(name: str, calls: list[Any]) -> None:
    binarizers = started(Sign()), XNORWeightBinarizer()
    binarizers[1].enable()
    binarizers[0].get_parameter(name).requires_grad_(False)
    x, w = torch.randn(2, 6, 5, 5), torch.randn(4, 6, 3, 3)
    trained = [p for p in binarizers[0].parameters() if p.requires_grad]
    mine, its = (
        torch.autograd.grad(run(*binarizers, x, w).square().sum(), trained)
        for run in (binarized_conv2d, in_steps)
    )
    assert_close(mine, its, rtol=1e-4, atol=1e-4)
    assert calls == [True]


def test_levels_without_axes_get_gradients_of_their_shape(calls: list[Any]) -> None:
    binarizers = started(Scalars()), XNORWeightBinarizer()
    binarizers[1].enable()
    both = (found(run, binarizers, {"padding": 1}) for run in (binarized_conv2d, in_steps))
    for mine, its in zip(*both, strict=True):
        assert_close(mine, its, rtol=1e-4, atol=1e-4)
    assert calls == [True]


def test_a_batch_that_is_left_to_the_steps_starts_the_levels_once(calls: list[Any]) -> None:
    activations = ActivationBinarizer(6, Sign(), ApproxSign(), init_batches=2)
    activations.enable()
    activations.scale = torch.nn.Parameter(activations.scale.detach().double())
    binarized_conv2d(activations, XNORWeightBinarizer(), torch.randn(2, 6, 5, 5), torch.randn(4, 6, 3, 3))
    assert activations.batches_seen == 1
    assert calls == []


@pytest.mark.parametrize("of_x", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("of_w", [torch.contiguous_format, torch.channels_last])
def test_layouts(of_x: torch.memory_format, of_w: torch.memory_format, calls: list[Any]) -> None:
    activations = started(Sign())
    weights = ComposedWeightBinarizer((4, 6, 3, 3), Learned(), Clipped(), Unchanged())
    weights.enable()
    runs = []
    for run in (binarized_conv2d, in_steps):
        torch.manual_seed(0)
        x = torch.randn(2, 6, 9, 9).to(memory_format=of_x).requires_grad_()
        w = torch.randn(4, 6, 3, 3).to(memory_format=of_w).requires_grad_()
        y = run(activations, weights, x, w, None, padding=1)
        inputs = (x, w, *activations.parameters(), *weights.parameters())
        runs.append([y, *torch.autograd.grad(y, inputs, torch.randn(y.shape))])
    for mine, its in zip(*runs, strict=True):
        assert_close(mine, its, rtol=1e-4, atol=1e-4)
    assert calls == [True]


def test_weights_that_are_not_binarized_and_multiplied_gradients(calls: list[Any]) -> None:
    binarizers = (
        started(Sign(), 3.0),
        ComposedWeightBinarizer((4, 6, 3, 3), Learned(), Clipped(), Unchanged()),
    )
    both = (found(run, binarizers, {"padding": 1}) for run in (binarized_conv2d, in_steps))
    for mine, its in zip(*both, strict=True):
        assert (mine is None) is (its is None)
        if mine is not None:
            assert_close(mine, its, rtol=1e-4, atol=1e-4)
    assert calls == [False]


def test_the_first_batch_starts_it_and_firing_is_counted(calls: list[Any]) -> None:
    activations, weights = ActivationBinarizer(6, Sign(), ApproxSign()), XNORWeightBinarizer()
    activations.enable()
    weights.enable()
    activations.firing = FiringCount(6, torch.device("cpu"))
    x = torch.randn(3, 6, 7, 7)
    binarized_conv2d(activations, weights, x, torch.randn(4, 6, 3, 3))
    assert activations.is_scale_initialized
    assert_close(activations.levels().threshold.flatten(), x.mean((0, 2, 3)))
    assert calls == [True]
    high = (x > x.mean((0, 2, 3), keepdim=True)).sum((0, 2, 3))
    assert activations.firing.fired.tolist() == pytest.approx(high.tolist(), abs=1)


def test_a_value_that_is_not_finite_is_left_to_the_steps(calls: list[Any]) -> None:
    x = torch.randn(1, 6, 5, 5)
    x[0, 0, 0, 0] = torch.nan
    y = binarized_conv2d(started(Sign()), XNORWeightBinarizer(), x, torch.randn(4, 6, 3, 3))
    assert y[0, :, 0, 0].isnan().all()
    assert calls == []


def test_there_is_no_second_derivative_of_the_scale_alone(calls: list[Any]) -> None:
    binarizers = started(Sign()), XNORWeightBinarizer()
    binarizers[1].enable()
    binarizers[0].get_parameter("shift").requires_grad_(False)
    scale = binarizers[0].scale
    y = binarized_conv2d(*binarizers, torch.randn(2, 6, 5, 5), torch.randn(4, 6, 3, 3))
    (grad,) = torch.autograd.grad(y.sum(), scale, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(grad, scale)
    assert calls == [True]
