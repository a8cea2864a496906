"""Collective operations over the processes ("ranks") that train one model together."""

from collections.abc import Iterable
from itertools import groupby

import torch
from torch import Tensor, distributed


def rank_count() -> int:
    """Number of processes in the default group of torch.distributed; 1 if that is not in use."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


def sum_over_ranks(value: Tensor) -> Tensor:
    """Add up `value` over all ranks, in place, and return it."""
    if rank_count() > 1:
        distributed.all_reduce(value)
    return value


def average_over_ranks(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the ranks, with one message per device and dtype.

    All ranks must pass the same shapes in the same order.
    """
    ranks = rank_count()
    for part in _by_device_and_dtype(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in part])
        distributed.all_reduce(flat)
        _scatter(flat.div_(ranks), part)


def copy_from_first_rank(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by that of rank 0, with one message per device and dtype."""
    for part in _by_device_and_dtype(tensors):
        flat = _sendable(torch.cat([tensor.reshape(-1) for tensor in part]))
        distributed.broadcast(flat, 0)
        _scatter(flat, part)


def _by_device_and_dtype(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """`tensors` grouped by device and dtype, in the same order on every rank."""

    def kind(tensor: Tensor) -> tuple[str, str]:
        return str(tensor.device), str(tensor.dtype)

    return [list(part) for _, part in groupby(sorted(tensors, key=kind), key=kind)]


def _sendable(flat: Tensor) -> Tensor:
    """`flat` on a device that the backend can send from: NCCL supports GPUs only."""
    return flat.cuda() if flat.is_cpu and distributed.get_backend() == "nccl" else flat


def _scatter(flat: Tensor, tensors: list[Tensor]) -> None:
    """Copy consecutive pieces of the 1-d `flat` into `tensors`, which have as many elements together."""
    for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(piece.view_as(tensor))
