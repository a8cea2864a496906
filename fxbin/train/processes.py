"""Training on several processes, as torchrun starts them."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fxbin.binarizers.ranks import rank_count

STARTED_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def is_first_process() -> bool:
    """Whether this process is the one that prints and writes: the only one, or rank 0."""
    return own_rank() == 0


def own_rank() -> int:
    """Number of this process, from 0."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return int(os.environ["RANK"]) if _started_by_torchrun() else 0


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process where there are several, made the current one; else `device`."""
    if device.type != "cuda" or not _started_by_torchrun():
        return device
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(own)
    return own


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes that torchrun has started; does nothing for a single one, or if they are.

    After an error the connection is left to the end of the process: the others may be waiting in it.
    """
    if not _started_by_torchrun() or distributed.is_initialized():
        yield
        return
    # Some of its defaults are the group there is when it is imported, which DDP does. That group would never
    # be freed, and its threads end in the middle of the interpreter's own end: a crash now and then.
    import torch.distributed.nn.functional  # noqa: F401

    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield
    distributed.destroy_process_group()


def in_step(model: nn.Module) -> nn.Module:
    """`model` in a wrapper that averages gradients over the processes; itself if there is one process."""
    return DistributedDataParallel(model) if rank_count() > 1 else model


@contextmanager
def strides_ignored() -> Iterator[None]:
    """Without DDP's warning that a gradient has other strides than its parameter.

    A CPU's convolutions give the weight of a single input channel, ``(4, 1, 3, 3)``, a gradient that differs
    in the stride of that axis of length 1, where a stride means nothing.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        yield


def _started_by_torchrun() -> bool:
    known = distributed.is_available() and all(name in os.environ for name in STARTED_BY_TORCHRUN)
    return known and int(os.environ["WORLD_SIZE"]) > 1
