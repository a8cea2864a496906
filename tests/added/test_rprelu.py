import contextlib
import copy
import math
from typing import Any

import pytest
import torch

from fxbin.added import Projection, RPReLU
from fxbin.engine.library import Engine


def formula(x: torch.Tensor, layer: RPReLU) -> torch.Tensor:
    """Eq. (4) of ReActNet, value by value."""
    y = torch.empty_like(x)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in x.shape)).tolist():
        channel, value = index[-3], x[tuple(index)]
        gamma, zeta, beta = layer.gamma[channel], layer.zeta[channel], layer.beta[channel]
        y[tuple(index)] = value - gamma + zeta if value > gamma else beta * (value - gamma) + zeta
    return y


@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (3, 2, 2)])
def test_values_are_those_of_the_paper(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = RPReLU(3, batched=len(shape) == 4).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(shape, dtype=torch.float64)
    x.view(-1)[0] = layer.gamma[0]
    torch.testing.assert_close(layer(x), formula(x, layer), rtol=1e-12, atol=1e-12)


def test_gradients_are_finite_differences() -> None:
    torch.manual_seed(0)
    layer = RPReLU(2).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    names = [*dict(layer.named_parameters())]

    def run(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))
        return y

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))
    assert torch.autograd.gradgradcheck(run, (x, *layer.parameters()))


def test_the_fast_backward_is_that_of_autograd() -> None:
    torch.manual_seed(0)
    layer, x = RPReLU(3), torch.randn(4, 3, 5, 5)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    with torch.no_grad():
        layer.gamma[0] = x[0, 0, 0, 0]
    found = []
    for follows in (False, True):
        own = x.clone().requires_grad_()
        with torch.profiler.profile() if follows else contextlib.nullcontext():  # sees which operators run
            y = layer(own)
        assert ("RPReLU" in type(y.grad_fn).__name__) is not follows
        found.append([y, *torch.autograd.grad(y.square().sum(), [own, *layer.parameters()])])
    for fast, expected in zip(*found, strict=True):
        torch.testing.assert_close(fast, expected)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", [(4, 5, 9, 8), (70, 3, 3, 2), (2, 17, 1, 1), (3, 2, 2)])
def test_the_engine_computes_the_formula(built: Engine, shape: tuple[int, ...], last: bool) -> None:
    torch.manual_seed(0)
    layer = RPReLU(shape[-3], batched=len(shape) == 4)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(shape)
    x.view(-1)[:3] = torch.tensor([math.inf, -math.inf, layer.gamma[0].item()])
    x = x.to(memory_format=torch.channels_last) if last and x.dim() == 4 else x
    g = torch.randn(shape)
    found = []
    for dtype in (torch.float32, torch.float64):  # the engine takes float32 alone
        own, run = x.detach().to(dtype).requires_grad_(), copy.deepcopy(layer).to(dtype)
        y = run(own)
        assert y.is_contiguous() is x.is_contiguous()
        with torch.no_grad():
            assert torch.equal(run(own), y)
        found.append([y, *torch.autograd.grad(y, [own, *run.parameters()], g.to(dtype))])
    for mine, formula in zip(*found, strict=True):
        torch.testing.assert_close(mine, formula.float(), rtol=1e-5, atol=1e-5)


def test_the_engine_is_asked_for_float32_alone(built: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    run = built.rprelu

    def noted(call: Any) -> None:
        asked.append(call)
        run(call)

    monkeypatch.setattr(built, "rprelu", noted)
    layer, x = RPReLU(3), torch.randn(2, 3, 8, 8)
    layer(x)
    assert len(asked) == 1
    layer.double()(x.double())
    layer.float()(x[:, :, ::2])
    layer(x[:0])
    torch.func.vmap(layer)(x.unsqueeze(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    assert len(asked) == 1


def test_gradients_may_be_stacked(built: Engine) -> None:
    layer, x = RPReLU(2), torch.randn(1, 2, 8, 8, requires_grad=True)
    y, g = layer(x), torch.randn(3, 1, 2, 8, 8)
    stacked = torch.autograd.grad(y, layer.beta, g, retain_graph=True, is_grads_batched=True)[0]
    for mine, one in zip(stacked, g, strict=True):
        torch.testing.assert_close(mine, torch.autograd.grad(y, layer.beta, one, retain_graph=True)[0])


def test_nan_stays_and_reaches_the_gradients(built: Engine) -> None:
    layer, x = RPReLU(2), torch.randn(1, 2, 8, 8)
    x[0, 1, 0, 0] = math.nan
    y = layer(x.requires_grad_())
    y.sum().backward()
    assert y.isnan().nonzero().tolist() == [[0, 1, 0, 0]]
    assert layer.beta.grad is not None
    assert layer.beta.grad.isnan().tolist() == [False, True]


@pytest.mark.parametrize("size", [(1, 2, 8, 8), (5, 2, 3, 3)])
def test_an_infinite_gradient_above_gamma_does_not_reach_beta(built: Engine, size: tuple[int, ...]) -> None:
    layer = RPReLU(2)
    x = torch.rand(size) + 1
    layer(x.requires_grad_()).backward(torch.full(size, math.inf))
    assert layer.beta.grad is not None
    assert layer.beta.grad.tolist() == [0, 0]


def test_it_starts_as_prelu() -> None:
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(RPReLU(4)(x), torch.nn.PReLU(4)(x), rtol=0, atol=0)
    assert [*RPReLU(4).state_dict()] == ["gamma", "zeta", "beta"]
    assert repr(RPReLU(4)) == "RPReLU(4)"


def test_a_projection_is_a_convolution_and_a_norm() -> None:
    layer, x = Projection(2, 5), torch.rand(3, 2, 4, 4)
    expected = torch.einsum("nihw,oi->nohw", x, layer.conv.weight[:, :, 0, 0])
    mean, variance = (
        expected.mean((0, 2, 3), keepdim=True),
        expected.var((0, 2, 3), keepdim=True, correction=0),
    )
    expected = (expected - mean) / (variance + layer.norm.eps).sqrt()
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
