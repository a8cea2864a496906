"""Where tensors are in memory, and how many threads there are, as the engine is told."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fxbin.engine.library import EngineTensor

_NOTHING = EngineTensor()

MOST_THREADS = 64
"""More are not started."""


def thread_count() -> int:
    """Threads that the engine may use: those of PyTorch."""
    return min(torch.get_num_threads(), MOST_THREADS)


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of `x` are neighbours in memory, and not as well its columns."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def aligned(values: Tensor) -> Tensor:
    """`values`, copied if they are in the middle of something else, such as a file that was read."""
    return values.clone() if values.data_ptr() % values.element_size() else values


def in_layout(x: Tensor, is_last: bool) -> Tensor:
    """`x` without gaps, channels_last or in order."""
    return aligned(x.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format))


def dense(values: Tensor) -> Tensor:
    """`values` in order, without gaps between them."""
    return aligned(values.contiguous())


def place(values: Tensor | None) -> tuple[int | None, int]:
    """The address of the first of `values`, which have no gaps, and their number."""
    return (None, 0) if values is None else (values.data_ptr(), values.numel())


def extent(values: Tensor | None) -> EngineTensor:
    """Shape and strides of `values`, without an address."""
    return _NOTHING if values is None else extent_of(values.shape, values.stride())


def extent_of(shape: Sequence[int], stride: Sequence[int]) -> EngineTensor:
    """A tensor of this shape, up to the last element that its strides reach, without an address."""
    reach = sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1
    return EngineTensor(None, 0 if 0 in shape else reach, tuple(shape), tuple(stride))


class Like:
    """How memory for a tensor is made: as another one of the same kind was."""

    def __init__(self, made: Tensor) -> None:
        self._shape, self._stride, self._dtype = made.shape, made.stride(), made.dtype

    def make(self) -> Tensor:
        """New memory, of any content."""
        return torch.empty_strided(self._shape, self._stride, dtype=self._dtype)
