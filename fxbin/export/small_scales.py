"""Weight scales of 0, by which OpenVINO would divide: raised in the convolution, and undone behind it."""

from torch import Tensor

from fxbin.binarizers.levels import Levels

SMALLEST_SCALE = 2.0**-100
"""Smallest scale of a weight in a 1-bit convolution. It is multiplied and divided, so it is far above the
smallest normal number; and so small that no sum times it overflows."""


def raise_scales(levels: Levels) -> tuple[Levels, Tensor | None, int]:
    """Raise scales of a weight to at least `SMALLEST_SCALE`.

    A filter whose weights are all 0, for example after pruning, has the levels 0 and 0. OpenVINO divides by
    them: it then runs the convolution in float on an input of one bit per value, and crashes or gives NaN.
    The same happens with a scale whose reciprocal is infinite. What is computed with a raised scale is
    multiplied by a factor that undoes this, so that what should be 0 is 0: next to it, a threshold of 0 would
    tell it from 0, and a BatchNorm with a small variance would make it large.

    Args:
        levels: -a and a, each ``(out, 1, 1, 1)`` or one number with as many axes, none below 0.

    Returns:
        The raised levels; the factors of the output, ``(1, out, 1, 1)`` or one number with as many axes, None
        if nothing was raised; and the number of raised scales.
    """
    high = levels.high.clamp(min=SMALLEST_SCALE)
    count = int((high != levels.high).sum())
    factors = (levels.high / high).reshape(1, -1, 1, 1) if count else None
    return Levels.symmetric(levels.threshold, high), factors, count
