"""Binarizers under DistributedDataParallel: the names it must ignore, and broadcasting from rank 0."""

from collections.abc import Iterable

import torch
from torch import nn

from fxbin import torch_private
from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.ranks import copy_from_first_rank, rank_count

IGNORED_BY_DDP: str = torch_private.IGNORED_BY_DDP
"""Attribute in which DistributedDataParallel looks for the parameters and buffers it must ignore."""


def ignored_by_ddp(module: nn.Module) -> list[str]:
    """Names of the parameters and buffers of all binarizers in `module`, which DDP must ignore.

    A transformed model sets this itself. If it is only a part of the module that DDP wraps, write::

        whole._ddp_params_and_buffers_to_ignore = ignored_by_ddp(whole)

    The gradients are then averaged by `GradientMean`, and the values are those of rank 0 after `synchronize`.
    """
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, binarizer in module.named_modules(remove_duplicate=False)
        if isinstance(binarizer, Binarizer)
        for tensors in (binarizer.named_parameters, binarizer.named_buffers)
        for name, _ in tensors(recurse=False, remove_duplicate=False)
    ]


def synchronize(binarizers: Iterable[Binarizer]) -> None:
    """Copy the scales, thresholds and switches of rank 0 to every rank; does nothing in a single process.

    Call it on every rank where ranks may differ: after only rank 0 has loaded a checkpoint or set a switch.
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
