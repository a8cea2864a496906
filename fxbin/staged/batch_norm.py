"""Recomputes BatchNorm statistics, for an evaluation right after a stage switch."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.binarizers.ranks import average_over_ranks, rank_count
from fxbin.errors import DataError


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, batches: Iterable[Tensor | Sequence[Any]]) -> int:
    """Set the running mean and variance of each BatchNorm to their averages over `batches`.

    Running statistics still contain batches from before a stage switch, when convolutions had other outputs;
    eval mode uses them, training does not. The model runs in eval mode except for its BatchNorm layers, so
    nothing else changes, dropout is off, and activation scales are not initialized. This differs from
    `torch.optim.swa_utils.update_bn`, which runs the whole model in train mode.

    Batches: inputs of the model, as in training, each of more than one image; of a tuple or list, the first
             item. All batches have the same weight in the averages. Under torch.distributed every rank must
             call it, with the same number of its own batches; all end with the means over the ranks.
    Returns: the number of batches.
    Errors:  DataError without batches; nothing has changed then.
    """
    layers = [
        m for m in model.modules() if isinstance(m, torch_private.BatchNorm) and m.running_mean is not None
    ]
    count = 0
    with _averaging(model, layers):
        for x in batches:
            if count == 0:
                for layer in layers:
                    layer.reset_running_stats()
            model(x[0] if isinstance(x, list | tuple) else x)
            count += 1
    if not count:
        raise DataError("batches: there were none to take statistics from. Is the iterator used up?")
    if rank_count() > 1:
        average_over_ranks(
            value
            for layer in layers
            for value in (layer.running_mean, layer.running_var)
            if value is not None
        )
    return count


@contextmanager
def _averaging(model: nn.Module, layers: Sequence["torch_private.BatchNorm"]) -> Iterator[None]:
    """Let `layers` of `model` average over all batches they see, and put the rest in eval mode."""
    modes = {module: module.training for module in model.modules()}
    momenta = [layer.momentum for layer in layers]
    model.eval()
    try:
        for layer in layers:
            layer.train()
            layer.momentum = None  # torch's way to ask for an average over all batches
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, training in modes.items():
            module.training = training
