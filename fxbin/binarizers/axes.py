"""The axes of activations, and the arguments that convolutions take for each spatial axis."""

from collections.abc import Sequence

from torch import Tensor


def all_but_channels(x: Tensor) -> list[int]:
    """The axes of `x`, ``(n, c, h, w)`` or ``(c, h, w)``, without that of its channels."""
    return [axis for axis in range(x.dim()) if axis != x.dim() - 3]


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Stride, padding or dilation as ``(h, w)``; conv2d also takes one number, or a sequence of one."""
    if isinstance(value, int):
        return (value, value)
    first, *rest = value
    return (first, rest[0] if rest else first)
