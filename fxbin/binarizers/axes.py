"""The axes of activations."""

from torch import Tensor


def all_but_channels(x: Tensor) -> list[int]:
    """The axes of `x`, ``(n, c, h, w)`` or ``(c, h, w)``, without that of its channels."""
    return [axis for axis in range(x.dim()) if axis != x.dim() - 3]
