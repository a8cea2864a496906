"""Initial activation scales: a statistic of a training batch that is binarized."""

import math
import warnings
from typing import Literal

import torch
from torch import Tensor, distributed

from fxbin.binarizers.ranks import rank_count, sum_over_ranks

ScaleInit = Literal["quantile", "mse"]

QUANTILE_SHARE = 0.001
MSE_ROUNDS = 20
FALLBACK_SCALE = 1.0
"""Initial scale if the statistic is not a positive finite number; that of an uninitialized binarizer."""


@torch.library.custom_op("fxbin::initial_log_scale", mutates_args=())
def initial_log_scale(x: Tensor, rule: str, site: str, alone: bool = False) -> Tensor:
    """Log of the initial scale for the inputs `x`, as float32 ``(1,)`` on the device of `x`.

    `rule` is ``"quantile"`` or ``"mse"``, see `quantile_scale` and `mse_scale`. A statistic that is not a
    positive finite number is replaced by 1, with a warning that names `site`. Under `torch.distributed`
    the statistic is that of all ranks together, and every rank must make this call; with `alone` it is that
    of this rank.

    A custom operator, so that `torch.compile(fullgraph=True)` does not trace into the warning.
    """
    values = at_least_float32(x.detach().flatten())
    scale = float(mse_scale(values, alone) if rule == "mse" else quantile_scale(values, alone))
    problem = (
        f"{site or 'activation binarizer'}: the inputs of the first binarized batch give the scale {scale} "
        f"({rule} rule), so it starts at {FALLBACK_SCALE} instead. Are they all zero, negative or not "
        "finite? A call site whose input is never positive belongs in ignored_scopes."
    )
    return log_or_fallback(scale, x.device, problem)


@initial_log_scale.register_fake
def _(x: Tensor, _rule: str, _site: str, _alone: bool = False) -> Tensor:
    return x.new_empty((1,), dtype=torch.float32)


def log_or_fallback(scale: float, device: torch.device, problem: str) -> Tensor:
    """Log of `scale` as float32 ``(1,)``; of `FALLBACK_SCALE`, with a warning, if it is not a scale."""
    if not (math.isfinite(scale) and scale > 0):
        warnings.warn(problem, stacklevel=3)
        scale = FALLBACK_SCALE
    return torch.full((1,), math.log(scale), dtype=torch.float32, device=device)


def has_values(x: Tensor, alone: bool) -> bool:
    """Whether a scale can be initialized from `x`; a rank with an empty batch takes part for the others."""
    return x.numel() > 0 or (rank_count() > 1 and not alone)


def quantile_scale(values: Tensor, alone: bool = False) -> Tensor:
    """Smallest of the top 0.1 % of the 1-d `values`, as 0-d: the rule of NNCF 2.9. NaN counts as largest.

    The count is ``max(1, round(0.001 * n))`` with Python's rounding, half to even: 1500 values give 2,
    2500 give 2 as well.
    """
    total = values.numel()
    if not alone:
        total = int(sum_over_ranks(torch.tensor(total, device=values.device)))
    count = max(1, round(total * QUANTILE_SHARE))
    top = values.topk(min(count, values.numel())).values
    if rank_count() > 1 and not alone:
        padded = top.new_full((count,), -math.inf)
        padded[: top.numel()] = top
        gathered = [torch.empty_like(padded) for _ in range(rank_count())]
        distributed.all_gather(gathered, padded)
        top = torch.cat(gathered).topk(count).values
    return top.min()


def mse_scale(values: Tensor, alone: bool = False) -> Tensor:
    """The s that minimizes the mean squared error of ``s H(x - s / 2)`` to `values`: ``(*, n)`` to ``(*)``.

    Lloyd's iteration (1982, doi:10.1109/TIT.1982.1056489, method I) with the lower level held at 0:
    s <- mean of the values above s / 2, 20 rounds from the mean of the positive values. NaN if there is none.
    """
    scale = _mean_above(values, values.new_zeros(values.shape[:-1]), alone)
    for _ in range(MSE_ROUNDS):
        scale = _mean_above(values, scale / 2, alone)
    return scale


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float64 if they are that already, else float32: precise enough for sums over a batch."""
    return values if values.dtype == torch.float64 else values.float()


def _mean_above(values: Tensor, bound: Tensor, alone: bool) -> Tensor:
    """Mean of the `values` ``(*, n)`` above `bound` ``(*)``; NaN where there is none."""
    above = values > bound.unsqueeze(-1)
    both = torch.stack([values.where(above, 0).sum(-1), above.sum(-1).to(values.dtype)])
    if not alone:
        both = sum_over_ranks(both)
    return both[0] / both[1]
