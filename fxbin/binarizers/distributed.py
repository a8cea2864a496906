"""What DistributedDataParallel does for other modules, and binarizers do themselves."""

from collections.abc import Iterable

import torch
from torch import nn

from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.ranks import copy_from_first_rank, rank_count

IGNORED_BY_DDP = "_ddp_params_and_buffers_to_ignore"
"""The attribute in which DistributedDataParallel looks for names of what it is to leave alone."""


def ignored_by_ddp(module: nn.Module) -> list[str]:
    """Names of the parameters and buffers of all binarizers in `module`, as DDP must leave them out.

    A transformed model tells DistributedDataParallel by itself. If it is only a part of what DDP wraps::

        whole._ddp_params_and_buffers_to_ignore = ignored_by_ddp(whole)

    The gradients are then averaged by `GradientMean`, and the values are those of rank 0 after `synchronize`.
    """
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, binarizer in module.named_modules(remove_duplicate=False)
        if isinstance(binarizer, Binarizer)
        for name in (*binarizer._parameters, *binarizer._buffers)
    ]


def synchronize(binarizers: Iterable[Binarizer]) -> None:
    """Give every rank what rank 0 has: scales, thresholds and switches. Alone, it does nothing.

    For where ranks may differ: a checkpoint that only rank 0 has loaded, a switch that only rank 0 has set.
    Every rank must call it.
    """
    if rank_count() == 1:
        return
    chosen = list(binarizers)
    with torch.no_grad():
        copy_from_first_rank(
            tensor for binarizer in chosen for tensor in (*binarizer.parameters(), *binarizer.buffers())
        )
    for binarizer in chosen:
        binarizer.read_flags()
