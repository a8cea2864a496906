"""`compression.weights.clip`: latent weights are clamped after each step, once they are binarized."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import fxbin
from fxbin.errors import ConfigError

CONFIG = {
    "input_info": {"sample_size": [1, 3, 8, 8]},
    "compression": {
        "algorithm": "binarization",
        "weights": {"clip": 0.1},
        "params": {"activations_quant_start_epoch": 0, "weights_quant_start_epoch": 1},
    },
}


def largest_after_steps(model: nn.Module, epochs: int) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule, found = fxbin.StagedSchedule(model, optimizer), []
    for epoch in range(epochs):
        schedule.start_epoch(epoch)
        model(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()
        schedule.step(1.0)
        found.append(model.get_parameter("weight").abs().max().item())
    return found


def test_weights_are_clamped_from_the_epoch_on_in_which_they_are_binarized() -> None:
    model = fxbin.transform(nn.Conv2d(3, 4, 3), CONFIG)
    with torch.no_grad():
        model.weight[0, 0, 0, 0] = 0.7
    before, after = largest_after_steps(model, 2)
    assert before > 0.5
    assert after == pytest.approx(0.1)


def test_a_weight_that_is_computed_cannot_be_clamped() -> None:
    model = fxbin.transform(weight_norm(nn.Conv2d(3, 4, 3)), CONFIG)
    with pytest.raises(ConfigError, match=r"weights.clip: 0.1: the weight of .* is computed from"):
        fxbin.StagedSchedule(model, torch.optim.SGD(model.parameters(), lr=0.1))
