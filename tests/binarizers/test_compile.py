import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from fxbin.binarizers import ActivationBinarizer, XNORWeightBinarizer
from fxbin.binarizers.activation_levels import ZeroScale


class BinarizedConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)))
        self.activation_binarizer = ActivationBinarizer(3, ZeroScale("mse"))
        self.weight_binarizer = XNORWeightBinarizer()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.activation_binarizer(x), self.weight_binarizer(self.weight))


def loss_and_gradients(run: Callable[[Tensor], Tensor], owner: nn.Module, x: Tensor) -> list[Tensor | None]:
    owner.zero_grad()
    x = x.clone().requires_grad_()
    loss = run(x).square().mean()
    loss.backward()
    return [loss.detach(), x.grad, *(parameter.grad for parameter in owner.parameters())]


# Dynamo itself makes the object it warns of.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_with_fullgraph_is_eager_in_every_stage_and_at_the_first_binarized_batch() -> None:
    torch.compiler.reset()
    model = BinarizedConv()
    compiled = torch.compile(model, fullgraph=True)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for switch in (None, model.activation_binarizer, model.weight_binarizer):
        if switch is not None:
            switch.enable()
        for _ in range(2):
            eager = copy.deepcopy(model)
            expected = loss_and_gradients(eager, eager, x)
            assert_close(loss_and_gradients(compiled, model, x), expected, rtol=1e-5, atol=1e-6)
            assert model.activation_binarizer.scale.item() == eager.activation_binarizer.scale.item()
    assert model.activation_binarizer.is_scale_initialized
