"""Runs a model without side effects."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fxbin.binarizers import ActivationBinarizer, Binarizer
from fxbin.tracing.recorder.random_kept import python_random_kept
from fxbin.tracing.undone.state import attributes_kept


@contextmanager
def effects_undone(model: nn.Module, *, keep_initialization: bool = False) -> Iterator[None]:
    """Restore random states, attributes, buffers, scales and thresholds of `model` at the end.

    `fxbin.Diagnostics` counts nothing meanwhile. With `keep_initialization`, parameters and buffers of
    binarizers are not restored, so that scales that the run initializes stay initialized.
    """
    binarizers = [part for part in model.modules() if isinstance(part, Binarizer)]
    kept = {id(buffer) for part in binarizers if keep_initialization for buffer in part.buffers()}
    tensors: list[Tensor] = [buffer for buffer in model.buffers() if id(buffer) not in kept]
    if not keep_initialization:
        tensors += [parameter for part in binarizers for parameter in part.parameters()]
    before = [(tensor, tensor.detach().clone()) for tensor in tensors]
    before_run = {
        part: (part.firing, part.has_started_alone)
        for part in binarizers
        if isinstance(part, ActivationBinarizer)
    }
    for activations in before_run:
        activations.firing = None
    devices = [device for device in {p.device for p in model.parameters()} if device.type == "cuda"]
    others = [part for part in model.modules() if not isinstance(part, Binarizer)]
    with torch.random.fork_rng(devices), python_random_kept(), attributes_kept(others):
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in before:
                    tensor.copy_(value)
            for activations, (count, had_started_alone) in before_run.items():
                activations.firing = count
                if not keep_initialization:
                    activations.has_started_alone = had_started_alone
