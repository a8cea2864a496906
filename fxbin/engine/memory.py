"""Addresses and strides of tensors, and the number of threads, as the engine takes them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fxbin.engine.structs import EngineTensor

_NOTHING = EngineTensor()

MOST_THREADS = 64
"""Maximum number of threads that the engine uses."""


def thread_count() -> int:
    """Number of threads that the engine may use: that of PyTorch, up to `MOST_THREADS`."""
    return min(torch.get_num_threads(), MOST_THREADS)


def is_channels_last(x: Tensor) -> bool:
    """Whether `x` is dense in channels_last, and not in the default layout as well."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def aligned(values: Tensor) -> Tensor:
    """Return `values`, or a copy if their address is not aligned, as in a view of the bytes of a file."""
    return values.clone() if values.data_ptr() % values.element_size() else values


def in_layout(x: Tensor, is_last: bool) -> Tensor:
    """Return `x` without gaps, in channels_last or in the default layout."""
    return aligned(x.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format))


def dense(values: Tensor) -> Tensor:
    """Return `values` without gaps, in the default layout."""
    return aligned(values.contiguous())


def place(values: Tensor | None) -> tuple[int | None, int]:
    """Return the address and the number of `values`, which must have no gaps; None and 0 for None."""
    return (None, 0) if values is None else (values.data_ptr(), values.numel())


def extent(values: Tensor | None) -> EngineTensor:
    """Return the C struct with the shape and strides of `values`, without an address; zeros for None."""
    return _NOTHING if values is None else extent_of(values.shape, values.stride())


def extent_of(shape: Sequence[int], stride: Sequence[int]) -> EngineTensor:
    """Return the C struct of a tensor that ends with the last element it reaches, without an address."""
    reach = sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1
    return EngineTensor(None, 0 if 0 in shape else reach, tuple(shape), tuple(stride))


class Like:
    """Creates tensors with the shape, strides and dtype of another one."""

    def __init__(self, made: Tensor) -> None:
        self._shape, self._stride, self._dtype = made.shape, made.stride(), made.dtype

    def make(self) -> Tensor:
        """Return a new tensor of undefined content."""
        return torch.empty_strided(self._shape, self._stride, dtype=self._dtype)
