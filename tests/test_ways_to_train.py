"""What training loops do around a model: precision, layout, checkpointing, accumulation."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import fxbin
from fxbin.binarized.module import BinarizedModule
from tests.transforming import SMALL

SCALE = "3.activation_binarizer.scale"


def network() -> BinarizedModule:
    """Without batch norm and dropout, which see the parts of a batch; everything is switched on."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten()]
    model = fxbin.transform(nn.Sequential(*layers, nn.Linear(128, 5)), SMALL)
    model.binarization.enable(activations=True, weights=True)
    return model


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(8, 3, 8, 8, generator=generator), torch.arange(8) % 5


def gradients(model: BinarizedModule) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def trained(model: BinarizedModule, run: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Gradients of the first batch; the scale starts with it."""
    x, y = batch()
    F.cross_entropy(run(x), y).backward()
    assert gradients(model).keys() == dict(model.named_parameters()).keys()
    return gradients(model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains_with_gradients_of_the_parameters_own_type(dtype: torch.dtype) -> None:
    model, x_y = network(), batch()
    for _ in range(2):
        with torch.autocast("cpu", dtype):
            logits = model(x_y[0])
        assert logits.dtype == dtype
        F.cross_entropy(logits.float(), x_y[1]).backward()
    for name, gradient in gradients(model).items():
        assert gradient.dtype == torch.float32, name
        assert gradient.isfinite().all(), name
    exact = network()
    exact(x_y[0])
    assert_close(model.get_parameter(SCALE), exact.get_parameter(SCALE), rtol=0, atol=0.02)


def test_grad_scaler_trains_and_skips_the_step_of_a_batch_that_is_not_finite() -> None:
    model, (x, y) = network(), batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for value, steps in ((0.5, True), (float("nan"), False)):
        x[0, 0, 0, 0] = value
        with torch.autocast("cpu", torch.float16):
            loss = F.cross_entropy(model(x).float(), y)
        optimizer.zero_grad()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        changed = any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
        assert changed == steps


def test_channels_last_gives_the_same_gradients_and_stays_channels_last() -> None:
    model, other = network(), network()
    model(batch()[0])
    with torch.no_grad():
        # They start at the largest activation, for which the last digit says on which side it lies.
        model.get_parameter(SCALE).mul_(0.9)
    other.load_state_dict(model.state_dict())
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = trained(model, lambda x: model(x.contiguous(memory_format=torch.channels_last)))
    assert_close(found, trained(other, other), rtol=1e-4, atol=1e-5)
    binarizer = model.get_submodule("3.activation_binarizer")
    y = binarizer(torch.rand(2, 8, 4, 4).contiguous(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_gives_the_same_gradients_from_the_first_batch_on(reentrant: bool) -> None:
    def run(x: Tensor) -> Tensor:
        y: Tensor = checkpoint(model, x.requires_grad_(), use_reentrant=reentrant)
        return y

    model, other = network(), network()
    assert_close(trained(model, run), trained(other, other), rtol=1e-5, atol=1e-6)
    assert torch.equal(model.get_parameter(SCALE), other.get_parameter(SCALE))


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    model, other = network(), network()
    (x, y), parts = batch(), 4
    for either in (model, other):
        either(x)  # The scale would else start from the first part only.
    for part_x, part_y in zip(x.chunk(parts), y.chunk(parts), strict=True):
        (F.cross_entropy(model(part_x), part_y) / parts).backward()
    assert_close(gradients(model), trained(other, other), rtol=1e-4, atol=1e-5)
