"""Batches and orders of calls that training loops do not expect."""

import copy
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fxbin
from fxbin.binarized.module import BinarizedModule
from tests.transforming import SMALL, Small

SCALE = "conv2.activation_binarizer.scale"
THRESHOLD = "conv2.activation_binarizer.threshold"


def small() -> BinarizedModule:
    torch.manual_seed(0)
    return fxbin.transform(Small(), SMALL)


def step(model: BinarizedModule, x: Tensor, optimizer: torch.optim.Optimizer | None = None) -> float:
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=0.01)
    loss = F.cross_entropy(model(x), torch.arange(len(x)) % 5)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def assert_finite(model: BinarizedModule) -> None:
    for name, value in model.state_dict().items():
        assert value.isfinite().all(), name


def test_zeros_at_the_first_binarized_step_start_the_scale_at_1_with_a_warning() -> None:
    model = small()
    model.binarization.enable(activations=True, weights=True)
    with pytest.warns(UserWarning, match=r"Small/NNCFConv2d\[conv1\]/conv2d_0: .* starts at 1"):
        assert math.isfinite(step(model, torch.zeros(4, 3, 8, 8)))
    assert math.isfinite(step(model, torch.rand(4, 3, 8, 8)))
    assert_finite(model)


def test_nan_in_the_first_binarized_batch_is_named_and_shows_in_the_loss() -> None:
    model = small()
    model.binarization.enable(activations=True)
    x = torch.rand(4, 3, 8, 8)
    x[0, 0, 0, 0] = math.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss = F.cross_entropy(model(x), torch.arange(4))
    assert loss.isnan()
    sites = list(model.binarization.sites)
    assert [str(warning.message).partition(": the inputs")[0] for warning in caught] == sites
    assert model.get_parameter(SCALE).isfinite()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_in_a_later_batch_shows_in_the_loss_in_every_stage(value: float) -> None:
    for activations, weights in ((False, False), (True, False), (True, True)):
        model = small()
        model.binarization.enable(activations=activations, weights=weights)
        step(model, torch.rand(4, 3, 8, 8))
        x = torch.rand(4, 3, 8, 8)
        x[0, 0, 0, 0] = value
        assert F.cross_entropy(model(x), torch.arange(4)).isnan()


def test_a_batch_of_one_trains() -> None:
    model = small()
    model.binarization.enable(activations=True, weights=True)
    before = model.get_parameter(SCALE).item()
    for _ in range(2):
        step(model, torch.rand(1, 3, 8, 8))
    assert model.get_parameter(SCALE).item() != before
    assert_finite(model)


def test_eval_before_any_training_leaves_the_scale_to_the_first_training_batch() -> None:
    model, other = small(), small()
    x = torch.rand(4, 3, 8, 8)
    for either in (model, other):
        either.binarization.enable(activations=True, weights=True)
    assert model.eval()(torch.rand(4, 3, 8, 8)).isfinite().all()
    assert model.get_parameter(SCALE).item() == 0
    model.train()
    torch.manual_seed(1)
    loss = step(model, x)
    torch.manual_seed(1)
    assert step(other, x) == loss


@pytest.mark.parametrize("built", ["before", "after"])
def test_an_optimizer_built_before_or_after_the_switch_trains_scale_and_threshold(built: str) -> None:
    model = small()
    if built == "before":
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        step(model, torch.rand(4, 3, 8, 8), optimizer)
        assert model.get_parameter(SCALE).grad is None
        model.binarization.enable(activations=True)
    else:
        model.binarization.enable(activations=True)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(torch.rand(4, 3, 8, 8))
    scale, threshold = (model.get_parameter(name).detach().clone() for name in (SCALE, THRESHOLD))
    step(model, torch.rand(4, 3, 8, 8), optimizer)
    assert not torch.equal(model.get_parameter(SCALE), scale)
    assert not torch.equal(model.get_parameter(THRESHOLD), threshold)


def test_scale_and_threshold_train_after_a_state_dict_alone_was_loaded() -> None:
    model = small()
    model.binarization.enable(activations=True, weights=True)
    step(model, torch.rand(4, 3, 8, 8))
    fresh = small()
    fresh.load_state_dict(copy.deepcopy(model.state_dict()))
    assert fresh.binarization.stage == "activations and weights"
    x = torch.rand(4, 3, 8, 8)
    assert torch.equal(fresh.eval()(x), model.eval()(x))
    scale, threshold = (fresh.get_parameter(name).detach().clone() for name in (SCALE, THRESHOLD))
    step(fresh.train(), x)
    assert not torch.equal(fresh.get_parameter(SCALE), scale)
    assert not torch.equal(fresh.get_parameter(THRESHOLD), threshold)
