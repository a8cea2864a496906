"""Max pooling of uint8 tensors in channels_last; PyTorch's own rejects all but the smallest of them."""

import torch
from torch import Tensor


def max_pool2d(levels: Tensor, size: list[int], stride: list[int], padding: list[int]) -> Tensor:
    """Return the maximum of each window of `levels`, uint8 ``(n, c, h, w)``, like `F.max_pool2d` of floats.

    Rows are pooled first, then columns, by maxima of whole slices, which takes a sixth of the time of pooling
    floats in channels_last. `padding` must be at most half of `size`. The result has the layout of `levels`.
    """
    for axis in range(2):
        levels = _along(levels, axis + 2, size[axis], stride[axis], padding[axis])
    return levels


def _along(x: Tensor, dim: int, size: int, stride: int, padding: int) -> Tensor:
    """Return the maximum of each window of `size` rows (or columns), along the axis `dim`."""
    count = (x.shape[dim] + 2 * padding - size) // stride + 1
    parts = [_part(x, dim, tap - padding, stride, count) for tap in range(size)]
    whole = [part for _, part in parts if part.shape[dim] == count]
    others = [(first, part) for first, part in parts if 0 < part.shape[dim] < count]
    if len(whole) > 1:
        y = torch.maximum(whole[0], whole[1])
        others += [(0, part) for part in whole[2:]]
    elif whole:
        y = whole[0].clone()
    else:
        shape = [*x.shape[:dim], count, *x.shape[dim + 1 :]]
        y = torch.empty_like(x.narrow(dim, 0, 1).expand(shape)).zero_()
    for first, part in others:
        target = y.narrow(dim, first, part.shape[dim])
        torch.maximum(target, part, out=target)
    return y


def _part(x: Tensor, dim: int, offset: int, stride: int, count: int) -> tuple[int, Tensor]:
    """Return the first i below `count` for which x has a row ``i * stride + offset``, and all such rows."""
    first = max(0, -(offset // stride))
    last = min(count, (x.shape[dim] - 1 - offset) // stride + 1)
    if last <= first:
        return first, x.narrow(dim, 0, 0)
    part = x.narrow(dim, first * stride + offset, (last - first - 1) * stride + 1)
    return first, part[:, :, ::stride] if dim == 2 else part[..., ::stride]
