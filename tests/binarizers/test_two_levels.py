"""The gradients of `TwoLevels`, compared with those that autograd finds for a sum with the same value."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from fxbin.binarizers import ActivationBinarizer
from fxbin.binarizers.activation_levels import ActivationLevels, Free, Sign, ZeroScale
from fxbin.binarizers.composed_weight import ComposedWeightBinarizer
from fxbin.binarizers.conv2d import conv2d
from fxbin.binarizers.estimators import EDE, ApproxSign, Clipped, Estimator, StraightThrough, Window
from fxbin.binarizers.latent import Center, ClampQuantiles, LatentTransform, Standardize, Unchanged
from fxbin.binarizers.levels import Levels
from fxbin.binarizers.weight_levels import CenterDistance, FilterMean, Learned, One, PowerOfTwo, WeightLevels

RULES = pytest.mark.parametrize("rule", [ZeroScale(), Sign(), Sign(learned_scale=False), Free()], ids=repr)
# Dynamo itself makes the object it warns of.
DYNAMO = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
ESTIMATORS = pytest.mark.parametrize("estimator", [Window(0.7), ApproxSign(), EDE()], ids=repr)


def started(rule: ActivationLevels, estimator: Estimator, dtype: torch.dtype) -> ActivationBinarizer:
    binarizer = ActivationBinarizer(3, rule, estimator).to(dtype)
    with torch.no_grad():
        for index, parameter in enumerate(binarizer.parameters()):
            parameter.copy_(torch.linspace(-0.4, 0.6, parameter.numel()).view_as(parameter) + 0.1 * index)
    binarizer.scale_initialized.fill_(1)
    binarizer.enable()
    return binarizer


def straight_through(x: Tensor, levels: Levels, unit: Tensor, e: Tensor) -> Tensor:
    """The two levels plus a zero whose gradient is that of ``half distance * e * (x - threshold) / unit``."""
    threshold, low, high = levels
    u = (x - threshold) / unit
    slope = (levels.half_distance * e).detach()
    return torch.where(x > threshold, high, low) + slope * (u - u.detach())


@RULES
@ESTIMATORS
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (3, 5, 4)])
def test_activations_have_the_gradients_of_the_formula(
    rule: ActivationLevels, estimator: Estimator, shape: tuple[int, ...]
) -> None:
    binarizer = started(rule, estimator, torch.float64)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    g = torch.randn(shape, dtype=torch.float64)
    y = binarizer(x)
    inputs = (x, *binarizer.parameters())
    found = torch.autograd.grad(y, inputs, g)

    levels = binarizer.levels()
    assert_close(y, torch.where(x > levels.threshold, levels.high, levels.low).view_as(y), rtol=0, atol=0)
    if x.dim() == 3:
        levels = Levels(levels.threshold[0], levels.low, levels.high)
    u = ((x - levels.threshold) / levels.half_distance).detach()
    e = estimator.derivative(u, torch.tensor(0.0))
    by_formula = straight_through(x, levels, levels.half_distance, e)
    for mine, its in zip(found, torch.autograd.grad(by_formula, inputs, g), strict=True):
        assert_close(mine, its)


@pytest.mark.parametrize("rule", [FilterMean(), Learned(), PowerOfTwo(), One(), CenterDistance()], ids=repr)
@pytest.mark.parametrize("latent", [Unchanged(), Center(), Standardize(), ClampQuantiles()], ids=repr)
@pytest.mark.parametrize("estimator", [StraightThrough(), Clipped(), Window(), EDE()], ids=repr)
def test_weights_have_the_gradients_of_the_formula(
    rule: WeightLevels, latent: LatentTransform, estimator: Estimator
) -> None:
    binarizer = ComposedWeightBinarizer((4, 3, 3, 3), rule, estimator, latent).double()
    binarizer.enable()
    w = (0.5 * torch.randn(4, 3, 3, 3, dtype=torch.float64) + 0.1).requires_grad_()
    g = torch.randn_like(w)
    y = binarizer(w)
    inputs = (w, *binarizer.parameters())
    found = torch.autograd.grad(y, inputs, g)

    at = torch.tensor(0.0)
    v, declared = latent.apply(w, at), binarizer.levels(w)
    assert torch.equal(y, torch.where(w > declared.threshold, declared.high, declared.low))
    levels = Levels(w.new_zeros(1, 1, 1, 1), declared.low, declared.high)
    e = estimator.derivative(v.detach(), at)
    if not estimator.is_scaled:
        e = e / levels.half_distance
    by_formula = straight_through(v, levels, w.new_ones(1), e)
    for mine, its in zip(found, torch.autograd.grad(by_formula, inputs, g), strict=True):
        assert_close(mine, its)


def test_gradients_of_the_levels_are_multiplied_and_their_values_are_not() -> None:
    x, found = torch.randn(2, 3, 4, 4), []
    for multiplier in (None, 3.0):
        binarizer = started(Sign(), ApproxSign(), torch.float32)
        binarizer.lr_multiplier = multiplier
        y = binarizer(x)
        y.square().sum().backward()
        found.append([y.detach(), *(p.grad for p in binarizer.parameters())])
    (y, *plain), (same, *multiplied) = found
    assert torch.equal(y, same)
    for once, thrice in zip(plain, multiplied, strict=True):
        assert once is not None
        assert_close(3 * once, thrice)


@RULES
def test_one_dtype_below_float32_gives_the_levels_that_are_declared(rule: ActivationLevels) -> None:
    binarizer = started(rule, ApproxSign(), torch.float32)
    y = binarizer(torch.randn(2, 3, 8, 8, dtype=torch.bfloat16))
    _, low, high = binarizer.levels()
    declared = {level.to(torch.bfloat16).item() for level in (low, high)}
    assert set(y.float().unique().tolist()) == declared


@RULES
def test_a_value_that_is_not_finite_shows_in_training_and_not_in_evaluation(rule: ActivationLevels) -> None:
    binarizer = started(rule, ApproxSign(), torch.float32)
    x = torch.zeros(1, 3, 1, 2)
    x[0, 0, 0, 0] = torch.nan
    assert binarizer(x).isnan().sum() == 1
    assert binarizer.eval()(x).isfinite().all()


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.activations = started(Sign(), EDE(), torch.float32)
        self.weights = ComposedWeightBinarizer((4, 3, 3, 3), Learned(), Clipped(), ClampQuantiles())
        self.weights.enable()

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(self.activations(x), self.weights(self.weight))


def gradients(layer: nn.Module, run: Any) -> list[Tensor]:
    layer.zero_grad()
    x = torch.linspace(-1, 1, 2 * 3 * 5 * 5).view(2, 3, 5, 5).requires_grad_()
    run(x).square().sum().backward()
    return [x.grad, *(p.grad for p in layer.parameters())]  # type: ignore[list-item]


@DYNAMO
def test_compiled_and_checkpointed_layers_have_the_same_gradients() -> None:
    layer = Layer()
    expected = gradients(layer, layer)
    compiled = gradients(layer, torch.compile(layer, fullgraph=True, backend="aot_eager"))
    checkpointed = gradients(layer, lambda x: checkpoint(layer, x, use_reentrant=False))
    for plain, by_compiler, again in zip(expected, compiled, checkpointed, strict=True):
        assert_close(by_compiler, plain)
        assert_close(again, plain, rtol=0, atol=0)


def test_under_autocast_the_gradients_of_the_parameters_stay_in_float32() -> None:
    layer = Layer()
    x = torch.randn(2, 3, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert_close(y.float(), layer(x), rtol=2e-2, atol=0.2)
    y.float().square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


@DYNAMO
def test_new_progress_needs_no_new_compilation() -> None:
    layer = Layer()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for run in (layer, compiled):  # in eager mode first, which reads that the levels have started
        gradients(layer, run)
    with torch.compiler.set_stance("fail_on_recompile"):
        for progress in (0.25, 0.5):
            layer.activations.get_buffer("progress").fill_(progress)
            layer.weights.get_buffer("progress").fill_(progress)
            for mine, its in zip(gradients(layer, compiled), gradients(layer, layer), strict=True):
                assert_close(mine, its)


def test_per_sample_gradients_and_no_second_derivative() -> None:
    binarizer = started(Sign(), ApproxSign(), torch.float32)
    x = torch.randn(4, 3, 5, 5)

    def loss(x: Tensor) -> Tensor:
        y: Tensor = binarizer(x.unsqueeze(0))
        return y.square().sum()

    each = torch.func.vmap(torch.func.grad(loss))(x)
    assert_close(each, torch.stack([torch.func.grad(loss)(sample) for sample in x]))
    x.requires_grad_()
    (grad,) = torch.autograd.grad(binarizer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()
