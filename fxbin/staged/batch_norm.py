"""BatchNorm statistics computed anew, for evaluation right after a switch."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fxbin.binarizers.ranks import average_over_ranks, rank_count
from fxbin.errors import DataError


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, batches: Iterable[Tensor | Sequence[Any]]) -> int:
    """Make the running mean and variance of each BatchNorm the average over `batches`; return their number.

    A running mean remembers the batches before a stage switch, when convolutions had other outputs: training
    does not use it, eval mode does. The model runs in eval mode but for its BatchNorm layers, so nothing else
    changes, dropout is off and activation scales are not initialised.

    Batches: inputs of the model, as in training, each of more than one image; of tuples the first item.
    Means over batches weigh each batch the same. Under torch.distributed every rank must call it, with as
    many batches of its own; all end with the means over the ranks.
    Errors: DataError without batches; nothing has changed then.
    Unlike `torch.optim.swa_utils.update_bn`, which runs all of the model in train mode.
    """
    modes = {module: module.training for module in model.modules()}
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    momenta = [layer.momentum for layer in layers]
    model.eval()
    count = 0
    try:
        for layer in layers:
            layer.train()
            layer.momentum = None  # torch's way to ask for an average over all batches
        for x in batches:
            if count == 0:
                for layer in layers:
                    layer.reset_running_stats()
            model(x[0] if isinstance(x, list | tuple) else x)
            count += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, training in modes.items():
            module.training = training
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
