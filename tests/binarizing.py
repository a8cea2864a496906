"""A model as training leaves it, without the training."""

from typing import Any

import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule


def binarize(model: nn.Module, x: Tensor, mode: str = "xnor", **params: Any) -> BinarizedModule:
    """`model` in its last stage, in eval mode, with random scales, thresholds and BatchNorm statistics."""
    config = {
        "input_info": {"sample_size": list(x.shape)},
        "compression": {"algorithm": "binarization", "mode": mode, "params": params},
    }
    return as_if_trained(fxbin.transform(model, config))


def as_if_trained(binarized: BinarizedModule) -> BinarizedModule:
    """`binarized`, changed to its last stage, eval mode and random values of what training finds."""
    binarized.eval()
    binarized.binarization.enable(activations=True, weights=True)
    for site in binarized.binarization.sites.values():
        started = {"scale_initialized": torch.ones(1, dtype=torch.int32)}
        site.activation.load_state_dict(site.activation.state_dict() | started)
        nn.init.uniform_(site.activation.scale, -0.5, 0.5)
        nn.init.normal_(site.activation.threshold)
    for module in binarized.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return binarized
