"""Where the activation thresholds start: half of the scale, or of what would be each channel's own scale."""

from typing import Literal

import torch
from torch import Tensor

from fxbin.binarizers.scale_init import at_least_float32, mse_scale

ThresholdInit = Literal["half", "mse"]

SMALLEST, LARGEST = 0.1, 0.9
"""Bounds of t at the start: nearer to 0 and 1 the sigmoid is so flat that t would hardly move."""


@torch.library.custom_op("fxbin::initial_threshold_logit", mutates_args=())
def initial_threshold_logit(x: Tensor, log_scale: Tensor, alone: bool = False) -> Tensor:
    """Logit of the starting thresholds for the inputs `x`, as ``(1, c, 1, 1)`` on the device of `x`.

    Channel c starts at t = s_c / (2 s), kept between 0.1 and 0.9, where s = exp(log_scale) and s_c is
    `mse_scale` of that channel: s t is then the bound that the channel would have with a scale of its own.
    A channel with no positive value, or with one that is not finite, starts at t = 1/2.

    Under `torch.distributed` as `initial_log_scale`, and an operator of its own for the same reason.
    """
    channels = at_least_float32(x.detach().movedim(-3, 0).flatten(1))
    own = mse_scale(channels, alone)
    t = (own / (2 * log_scale.detach().to(own).exp())).clamp(SMALLEST, LARGEST)
    return t.where(own.isfinite() & (own > 0), 0.5).logit().view(1, -1, 1, 1)


@initial_threshold_logit.register_fake
def _(x: Tensor, _log_scale: Tensor, _alone: bool = False) -> Tensor:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty((1, x.shape[-3], 1, 1), dtype=dtype)
