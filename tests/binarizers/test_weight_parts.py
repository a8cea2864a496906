"""Scales and transformations of weights, compared with their formulas."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fxbin.binarizers import DoReFaWeightBinarizer, XNORWeightBinarizer
from fxbin.binarizers.composed_weight import ComposedWeightBinarizer
from fxbin.binarizers.estimators import StraightThrough
from fxbin.binarizers.latent import Center, ClampQuantiles, LatentTransform, Standardize, Unchanged
from fxbin.binarizers.weight import WeightBinarizer
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

SHAPE = (4, 3, 3, 3)
W = 0.3 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
FILTERS = W.flatten(1)


def composed(rule: WeightLevels, latent: LatentTransform | None = None) -> ComposedWeightBinarizer:
    binarizer = ComposedWeightBinarizer(SHAPE, rule, StraightThrough(), latent or Unchanged()).double()
    binarizer.enable()
    return binarizer


@pytest.mark.parametrize(
    ("rule", "same"),
    [
        (FilterMean(), XNORWeightBinarizer()),
        (InputMean(), XNORWeightBinarizer("input")),
        (TensorMean(), DoReFaWeightBinarizer()),
    ],
    ids=repr,
)
def test_the_parts_of_a_mode_compute_what_the_mode_does(rule: WeightLevels, same: WeightBinarizer) -> None:
    same.enable()
    w, again = W.clone().requires_grad_(), W.clone().requires_grad_()
    y, expected = composed(rule)(w), same(again)
    assert torch.equal(y, expected)
    g = torch.randn_like(W)
    assert_close(*(torch.autograd.grad(out, x, g)[0] for out, x in ((y, w), (expected, again))))


def test_power_of_two_is_the_nearest_in_its_exponent() -> None:
    scale = composed(PowerOfTwo()).scale(W).flatten()
    exponents = [math.log2(mean) for mean in FILTERS.abs().mean(1).tolist()]
    assert scale.tolist() == [2.0 ** round(exponent) for exponent in exponents]


def test_learned_factors_start_at_one_and_multiply_the_mean() -> None:
    binarizer = composed(Learned())
    mean = FILTERS.abs().mean(1)
    assert_close(binarizer.scale(W).flatten(), mean)
    with torch.no_grad():
        binarizer.get_parameter("log_factor").fill_(math.log(2.0))
    assert_close(binarizer.scale(W).flatten(), 2 * mean)


def test_center_and_distance_are_mean_and_standard_deviation() -> None:
    levels = composed(CenterDistance(), Standardize()).levels(W)
    mean, deviation = FILTERS.mean(1), FILTERS.std(1, correction=0)
    assert_close(levels.threshold.flatten(), mean)
    assert_close(levels.low.flatten(), mean - deviation)
    assert_close(levels.high.flatten(), mean + deviation)


def test_levels_of_one() -> None:
    assert composed(One())(W).unique().tolist() == [-1.0, 1.0]


def test_centered_and_standardized_weights() -> None:
    mean, deviation = FILTERS.mean(1, keepdim=True), FILTERS.std(1, correction=0, keepdim=True)
    assert_close(Center().apply(W, None).flatten(1), FILTERS - mean)
    assert_close(Standardize().apply(W, None).flatten(1), (FILTERS - mean) / deviation)


@pytest.mark.parametrize(("progress", "q"), [(0.0, 0.85), (1.0, 0.99)])
def test_quantiles_are_those_of_a_laplace_distribution(progress: float, q: float) -> None:
    clamped = ClampQuantiles().apply(W, torch.tensor(progress)).flatten(1)
    standard = (FILTERS - FILTERS.mean(1, keepdim=True)) / FILTERS.std(1, correction=0, keepdim=True)
    # With the scale b, that is the mean magnitude, the quantile q > 1/2 is -b log(2 (1 - q)).
    bound = -standard.abs().mean(1, keepdim=True) * math.log(2 * (1 - q))
    assert_close(clamped, torch.maximum(torch.minimum(standard, bound), -bound), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("latent", [Unchanged(), Center(), Standardize(), ClampQuantiles()], ids=repr)
@pytest.mark.parametrize("rule", [FilterMean(), CenterDistance(), PowerOfTwo()], ids=repr)
def test_a_filter_of_equal_weights_has_finite_levels_and_gradients(
    latent: LatentTransform, rule: WeightLevels
) -> None:
    w = torch.zeros(SHAPE, dtype=torch.float64)
    w[1] = 0.7
    w.requires_grad_()
    y: Tensor = composed(rule, latent)(w)
    y.square().sum().backward()
    assert y.isfinite().all()
    assert w.grad is not None
    assert w.grad.isfinite().all()
