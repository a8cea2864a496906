"""Initial levels around a learned threshold: means and mean distances of a training batch."""

import torch
from torch import Tensor

from fxbin.binarizers.ranks import sum_over_ranks
from fxbin.binarizers.scale_init import FALLBACK_SCALE, at_least_float32, log_or_fallback


@torch.library.custom_op("fxbin::initial_shift", mutates_args=())
def initial_shift(x: Tensor, by_channel: bool, alone: bool = False) -> Tensor:
    """Mean of each channel of `x`, ``(1, c, 1, 1)``, or of all of `x`, ``(1, 1, 1, 1)``; 0 if not finite.

    `x` is ``(n, c, h, w)`` or ``(c, h, w)``. The dtype is float64 if that of x is, else float32. Ranks take
    part as in `initial_log_scale`; a custom operator for the same reason.
    """
    values = at_least_float32(x.detach().movedim(-3, 0).flatten(1))
    values = values if by_channel else values.reshape(1, -1)
    sums = torch.cat([values.sum(1), values.new_tensor([values.shape[1]])])
    if not alone:
        sums = sum_over_ranks(sums)
    mean = sums[:-1] / sums[-1]
    return mean.where(mean.isfinite(), 0).view(1, -1, 1, 1)


@initial_shift.register_fake
def _(x: Tensor, by_channel: bool, _alone: bool = False) -> Tensor:
    return x.new_empty((1, x.shape[-3] if by_channel else 1, 1, 1), dtype=_exact(x))


@torch.library.custom_op("fxbin::initial_log_distance", mutates_args=())
def initial_log_distance(x: Tensor, shift: Tensor, site: str, alone: bool = False) -> Tensor:
    """Log of the mean of ``abs(x - shift)`` as float32 ``(1,)``: the s that fits ``s sign(x - shift)`` best.

    A mean that is not a positive finite number is replaced by 1, with a warning that names `site`. Ranks take
    part as in `initial_log_scale`; a custom operator for the same reason.

    Source: Rastegari et al. 2016 (XNOR-Net), arXiv:1603.05279, eq. (6).
    """
    distances = (at_least_float32(x.detach()) - shift.detach()).abs()
    both = torch.stack([distances.sum(), distances.new_tensor(distances.numel())])
    if not alone:
        both = sum_over_ranks(both)
    distance = float(both[0] / both[1])
    problem = (
        f"{site or 'activation binarizer'}: the inputs of the first binarized batch have the mean distance "
        f"{distance} from the threshold, so the scale starts at {FALLBACK_SCALE} instead. Are they all "
        "equal, or not finite?"
    )
    return log_or_fallback(distance, x.device, problem)


@initial_log_distance.register_fake
def _(x: Tensor, _shift: Tensor, _site: str, _alone: bool = False) -> Tensor:
    return x.new_empty((1,), dtype=torch.float32)


def _exact(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
