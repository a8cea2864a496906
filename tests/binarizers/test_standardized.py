"""Standardized weights: the engine's pass is the formula."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import fxbin.engine
from fxbin.binarizers.standardized import LEAST_SPREAD, standardized
from fxbin.engine.library import Engine


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(5, 7, 3, 3), (1, 1, 1, 1), (130, 2, 1, 5)])
def test_values_and_gradients_are_those_of_the_formula(
    built: Engine, shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    w, g = torch.randn(shape).to(memory_format=layout), torch.randn(shape)
    found = []
    for dtype in (torch.float32, torch.float64):  # the engine takes float32 alone
        own = w.detach().to(dtype).requires_grad_()
        v = standardized(own, 1e-2)
        assert ("_Standardized" in type(v.grad_fn).__name__) is (dtype == torch.float32)
        found.append([v, *torch.autograd.grad(v, own, g.to(dtype))])
    double = w.double()
    expected = (double - double.mean((1, 2, 3), keepdim=True)) / (
        double.var((1, 2, 3), keepdim=True, correction=0) + 1e-2
    ).sqrt()
    torch.testing.assert_close(found[0][0], expected.float(), rtol=1e-5, atol=1e-5)
    for mine, formula in zip(*found, strict=True):
        torch.testing.assert_close(mine, formula.float(), rtol=1e-4, atol=1e-5)


def test_it_has_a_second_derivative(built: Engine) -> None:
    torch.manual_seed(0)
    found = []
    for dtype in (torch.float32, torch.float64):
        w = torch.linspace(-1, 1, 24, dtype=dtype).square().view(2, 3, 2, 2).requires_grad_()
        (first,) = torch.autograd.grad(standardized(w, 1e-2).pow(3).sum(), w, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), w)[0].float())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-2)


def test_gradients_may_be_stacked(built: Engine) -> None:
    w, g = torch.randn(4, 3, 2, 2, requires_grad=True), torch.randn(2, 4, 3, 2, 2)
    v = standardized(w, 1e-2)
    (stacked,) = torch.autograd.grad(v, w, g, retain_graph=True, is_grads_batched=True)
    for mine, one in zip(stacked, g, strict=True):
        torch.testing.assert_close(mine, torch.autograd.grad(v, w, one, retain_graph=True)[0])


def test_signs_are_those_of_weights_compared_with_their_mean(built: Engine) -> None:
    w = torch.randn(64, 16, 3, 3)
    assert torch.equal(standardized(w, 1e-12) > 0, w > w.mean((1, 2, 3), keepdim=True))
    assert standardized(torch.full((2, 3, 1, 1), torch.nan), 1e-12).isnan().all()


def narrow_filters() -> Tensor:
    """Filters of equal weights, of almost equal ones, of zeros, and an ordinary one."""
    torch.manual_seed(0)
    noise = torch.randn(5, 16, 3, 3)
    spread = torch.tensor([0, 1e-4, 0.1, 0, 1]).view(-1, 1, 1, 1)
    return torch.tensor([0.3, 0.3, 0.3, 0, 0.01]).view(-1, 1, 1, 1) + spread * noise


def gradients_of(w: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    w = w.detach().requires_grad_()
    v = standardized(w, 1e-12)
    return v.detach(), torch.autograd.grad(v, w, g.to(w))[0]


def test_gradients_of_equal_weights_are_those_of_a_small_spread(built: Engine) -> None:
    w, g = narrow_filters(), torch.randn(5, 16, 3, 3)
    v, grad = gradients_of(w, g)
    centered = (g - g.mean((1, 2, 3), keepdim=True)).double()
    # 0.003 is a hundredth of the mean; what is divided by it is a constant, and v is almost 0.
    torch.testing.assert_close(grad[0].double(), centered[0] / 0.003, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(grad[3].double(), centered[3], rtol=1e-4, atol=1e-5)
    assert v[0].abs().max() < 1e-4
    assert v[3].count_nonzero() == 0
    for mine, formula in zip((v, grad), gradients_of(w.double(), g), strict=True):
        torch.testing.assert_close(mine, formula.float(), rtol=1e-3, atol=1e-2)


def test_ordinary_filters_are_divided_by_their_standard_deviation_alone() -> None:
    w = narrow_filters().double()[[2, 4]]
    deviation = (w.var((1, 2, 3), keepdim=True, correction=0) + 1e-12).sqrt()
    expected = (w - w.mean((1, 2, 3), keepdim=True)) / deviation
    torch.testing.assert_close(standardized(w, 1e-12), expected, rtol=1e-12, atol=1e-12)


def test_zeros_in_half_precision_stay_finite() -> None:
    v, grad = gradients_of(torch.zeros(2, 3, 3, 3, dtype=torch.float16), torch.randn(2, 3, 3, 3))
    assert v.count_nonzero() == 0
    assert grad.isfinite().all()


def test_the_engine_has_the_same_least_spread() -> None:
    header = Path(fxbin.engine.__file__).parent / "kernels" / "fxbin_engine.h"
    (found,) = re.findall(r"#define FXBIN_LEAST_SPREAD (\S+)", header.read_text())
    assert float(found) == LEAST_SPREAD
