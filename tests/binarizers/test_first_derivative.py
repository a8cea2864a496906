"""No derivative of a straight-through gradient is taken for 0."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import functional

import fxbin
from tests.transforming import config

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def binarized(*, training: bool) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Tanh())
    model = fxbin.transform(net, config(1, 3, 8, 8))
    model.binarization.enable()
    model.train()(X)
    return model.train(training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "ask",
    [
        functional.hessian,
        lambda loss, x: functional.hvp(loss, x, x),
        lambda loss, x: functional.vhp(loss, x, x),
    ],
)
def test_torch_autograd_functional(ask: Callable[..., Any], training: bool) -> None:
    model = binarized(training=training)
    with pytest.raises(RuntimeError, match="differentiate twice: a straight-through estimator has no second"):
        ask(lambda x: model(x).square().sum(), X)


@pytest.mark.parametrize("training", [True, False])
def test_a_penalty_on_a_gradient(training: bool) -> None:
    model, x = binarized(training=training), X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.square().sum().backward()


def test_the_first_derivative_is_the_same_with_create_graph() -> None:
    model = binarized(training=True)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradients(**options: Any) -> list[Tensor]:
        return [*torch.autograd.grad(model(X).square().sum(), parameters, **options)]

    for plain, connected in zip(gradients(), gradients(create_graph=True), strict=True):
        assert torch.equal(plain, connected)
