"""Run a model without a trace of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fxbin.binarizers import Binarizer


@contextmanager
def effects_undone(model: nn.Module) -> Iterator[None]:
    """Put back random states and buffers (running statistics) after running `model`, also after an error.

    Those of binarizers stay: a scale that has started has started.
    """
    kept = {
        id(buffer) for part in model.modules() if isinstance(part, Binarizer) for buffer in part.buffers()
    }
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers() if id(buffer) not in kept]
    devices = [device for device in {p.device for p in model.parameters()} if device.type == "cuda"]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
