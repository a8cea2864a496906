"""Initial activation thresholds: half of the scale, or half of the scale each channel would have alone."""

from typing import Literal

import torch
from torch import Tensor

from fxbin.binarizers.scale_init import at_least_float32, mse_scale

ThresholdInit = Literal["half", "mse"]

SMALLEST, LARGEST = 0.1, 0.9
"""Bounds of the initial t: closer to 0 or 1 the sigmoid is so flat that t would hardly move."""


@torch.library.custom_op("fxbin::initial_threshold_logit", mutates_args=())
def initial_threshold_logit(x: Tensor, log_scale: Tensor, alone: bool = False) -> Tensor:
    """Logits of the initial thresholds for the inputs `x`, as ``(1, c, 1, 1)`` on the device of `x`.

    Channel c starts at t = s_c / (2 s), clamped to [0.1, 0.9], where s = exp(log_scale) and s_c is
    `mse_scale` of that channel: s t is then the bound that the channel would have with its own scale.
    A channel without a positive value, or with one that is not finite, starts at t = 1/2.

    Ranks take part as in `initial_log_scale`; a custom operator for the same reason.
    """
    channels = at_least_float32(x.detach().movedim(-3, 0).flatten(1))
    own = mse_scale(channels, alone)
    t = (own / (2 * log_scale.detach().to(own).exp())).clamp(SMALLEST, LARGEST)
    return t.where(own.isfinite() & (own > 0), 0.5).logit().view(1, -1, 1, 1)


@initial_threshold_logit.register_fake
def _(x: Tensor, _log_scale: Tensor, _alone: bool = False) -> Tensor:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty((1, x.shape[-3], 1, 1), dtype=dtype)
