"""Standardized weights: the engine's pass is the formula."""

import pytest
import torch

from fxbin.binarizers.standardized import standardized
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
