"""How the learning rate falls: the factor on its base value, by the remaining share of the decay."""

import math
from collections.abc import Callable
from typing import Literal

LR_DROP_POWER = 2.1
"""Exponent of the polynomial decay of the learning rate."""

LRDecay = Literal["poly", "cosine", "linear"]


def poly(remaining: float) -> float:
    """``r ** 2.1``, where r is the remaining share of the decay, from 1 to 0: NNCF's own."""
    return float(remaining**LR_DROP_POWER)


def cosine(remaining: float) -> float:
    """``(1 + cos(pi * (1 - r))) / 2``, written so that a share near 0 keeps its digits.

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983, eq. (5) without restarts, falling to 0.
    """
    return math.sin(math.pi * remaining / 2) ** 2


def linear(remaining: float) -> float:
    """``r``."""
    return remaining


LR_DECAYS: dict[LRDecay, Callable[[float], float]] = {"poly": poly, "cosine": cosine, "linear": linear}
"""The factor on the base learning rate as a function of the remaining share, by `params.lr_schedule`."""
