"""The form of a network that is fastest to evaluate."""

import torch
from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import unwrapped
from fxbin.deployment.pipeline import deploy
from fxbin.engine.library import training_engine
from fxbin.errors import ExportError

DEPLOYED_FROM = 1000
"""Images for which it is worth to deploy a network, which takes as long as some hundreds of them."""


def evaluated_form(model: nn.Module, images: int) -> nn.Module:
    """What computes the outputs of `model` in eval mode, up to rounding, for so many images.

    A network in float32 on a CPU that is binarized in all selected places is deployed, where the engine is.
    Any other is evaluated as it is, as is one that cannot be deployed, because no graph holds its code.
    """
    inner = unwrapped(model)
    if images < DEPLOYED_FROM or not isinstance(inner, BinarizedModule) or not _is_in_1_bit(inner):
        return model
    try:
        deployed = deploy(inner)
    except ExportError:
        return model
    return deployed.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _is_in_1_bit(model: BinarizedModule) -> bool:
    pairs = [(site.activation, site.weight) for site in model.binarization.sites.values()]
    return (
        all(a.is_enabled and w.is_enabled and a.is_scale_initialized for a, w in pairs)
        and all(p.device.type == "cpu" and p.dtype == torch.float32 for p in model.parameters())
        and training_engine() is not None
    )
