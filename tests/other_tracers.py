"""Transformed models in each stage, as other tracers meet them."""

from functools import cache

import pytest
import torch
from timm.models.efficientnet import EfficientNet, decode_arch_def
from timm.models.resnet import BasicBlock, ResNet
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
SIZES = {"Small": 8, "resnet": 32, "efficientnet": 32}


def _resnet() -> nn.Module:
    """Stages as in resnet18, each of one block: the same kinds of layers, in 12 convolutions."""
    model: nn.Module = ResNet(BasicBlock, (1, 1, 1, 1), num_classes=5)
    return model


def _efficientnet() -> nn.Module:
    """The kinds of blocks of efficientnet_b0, with and without a shortcut, in 21 convolutions of 81."""
    stages = [["ds_r1_k3_s1_e1_c16_se0.25"], ["ir_r2_k3_s2_e6_c24_se0.25"], ["ir_r1_k5_s2_e6_c40_se0.25"]]
    model: nn.Module = EfficientNet(
        decode_arch_def(stages), num_classes=5, num_features=64, stem_size=16, act_layer=nn.SiLU
    )
    return model


MODELS = {"Small": Small, "resnet": _resnet, "efficientnet": _efficientnet}


@cache
def _trained(name: str) -> BinarizedModule:
    torch.manual_seed(0)
    return as_if_trained(fxbin.transform(MODELS[name](), config(2, 3, SIZES[name], SIZES[name])))


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
    """Decorator: a test gets `name` and `stage` for `binarized`: each one of "Small", the last of others."""
    cases = [
        pytest.param(name, stage, id=f"{name}, {stage}")
        for name in names
        for stage in STAGES
        if name == "Small" or all(STAGES[stage])
    ]
    return pytest.mark.parametrize(("name", "stage"), cases)
