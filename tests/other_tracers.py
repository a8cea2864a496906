"""Transformed models in each stage, as other tracers meet them."""

from functools import cache

import pytest
import timm
import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from tests.binarizing import as_if_trained
from tests.transforming import Small, config

STAGES = {
    "full precision": (False, False),
    "activations": (True, False),
    "activations and weights": (True, True),
}
SIZES = {"Small": 8, "resnet18": 64, "efficientnet_b0": 64}


@cache
def _trained(name: str) -> BinarizedModule:
    torch.manual_seed(0)
    model: nn.Module = Small() if name == "Small" else timm.create_model(name, num_classes=5)
    return as_if_trained(fxbin.transform(model, config(2, 3, SIZES[name], SIZES[name])))


def binarized(name: str, stage: str) -> BinarizedModule:
    """One of `SIZES` in eval mode, in one of `STAGES`, with random scales; the same one for each caller."""
    model = _trained(name)
    activations, weights = STAGES[stage]
    model.binarization.enable(activations=activations, weights=weights)
    return model.eval()


def batch(name: str, count: int) -> Tensor:
    """Inputs for a model of `SIZES`; others for each `count`."""
    return torch.rand(count, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(count))


def in_each_stage(*names: str) -> pytest.MarkDecorator:
    """Decorator: a test gets `name` and `stage` for `binarized`: each stage, or the last for the slowest."""
    cases = [
        pytest.param(name, stage, id=f"{name}, {stage}")
        for name in names
        for stage in STAGES
        if name != "efficientnet_b0" or all(STAGES[stage])
    ]
    return pytest.mark.parametrize(("name", "stage"), cases)
