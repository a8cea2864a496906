"""A model as training leaves it, without the training."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule


def binarize(
    model: nn.Module,
    x: Tensor,
    mode: str | None = None,
    parts: Mapping[str, Any] | None = None,
    **params: Any,
) -> BinarizedModule:
    """`model` in its last stage, in eval mode, with random levels and BatchNorm statistics.

    `parts` are the sections `activations` and `weights` of the config.
    """
    section = {"algorithm": "binarization", "params": params, **(parts or {})}
    section |= {} if mode is None else {"mode": mode}
    config = {"input_info": {"sample_size": list(x.shape)}, "compression": section}
    return as_if_trained(fxbin.transform(model, config))


def as_if_trained(binarized: BinarizedModule) -> BinarizedModule:
    """`binarized`, changed to its last stage, eval mode and random values of what training finds."""
    binarized.eval()
    binarized.binarization.enable(activations=True, weights=True)
    for site in binarized.binarization.sites.values():
        started = {"scale_initialized": torch.ones(1, dtype=torch.int32)}
        site.activation.load_state_dict(site.activation.state_dict() | started)
        for name, parameter in site.activation.named_parameters():
            nn.init.uniform_(parameter, -0.5, 0.5) if name == "scale" else nn.init.normal_(parameter)
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
