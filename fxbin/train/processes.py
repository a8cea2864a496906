"""Training on several processes that torchrun has started."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fxbin import torch_private
from fxbin.binarizers.ranks import rank_count

STARTED_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def is_first_process() -> bool:
    """Whether this process is the one that prints and writes: the only one, or rank 0."""
    return own_rank() == 0


def own_rank() -> int:
    """Rank of this process, from 0."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return int(os.environ["RANK"]) if _started_by_torchrun() else 0


def restarted_by_torchrun() -> bool:
    """Whether torchrun has started the processes again, after one of them has died (``--max-restarts``)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process, made the current one, if torchrun started several; else `device`."""
    if device.type != "cuda" or not _started_by_torchrun():
        return device
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(own)
    return own


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes that torchrun has started; do nothing if there is one, or if they are connected.

    After an error the connection stays open until the process ends, as other processes may be waiting in it.
    """
    if not _started_by_torchrun() or distributed.is_initialized():
        yield
        return
    # Imported before there is a group: some default arguments in this module are the group that exists at
    # import time, which would be when DDP imports it. Such a group is never freed, and its threads would end
    # while the interpreter shuts down, which crashes now and then.
    import torch.distributed.nn.functional  # noqa: F401

    backend = "nccl" if device.type == "cuda" else "gloo"
    if restarted_by_torchrun():
        rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        distributed.init_process_group(backend, store=_store_of_this_start(), rank=rank, world_size=ranks)
    else:
        distributed.init_process_group(backend)
    yield
    distributed.destroy_process_group()


def _store_of_this_start() -> Any:
    """Where processes that torchrun has started again find each other.

    It keeps its store, in which the addresses of the processes that have died would be found: gloo then waits
    for them forever.
    """
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public, and typed

    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        int(os.environ["WORLD_SIZE"]),
        is_master=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" and os.environ["RANK"] == "0",
    )
    return PrefixStore(f"fxbin/start_{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)


def in_step(model: nn.Module) -> nn.Module:
    """`model` wrapped in DistributedDataParallel; `model` itself if there is only one process."""
    return DistributedDataParallel(model) if rank_count() > 1 else model


@contextmanager
def strides_ignored() -> Iterator[None]:
    """Suppress DDP's warning that the strides of a gradient differ from those of its parameter.

    For a weight with a single input channel, ``(4, 1, 3, 3)``, convolutions on a CPU compute a gradient whose
    stride differs on that axis of length 1, where strides have no meaning.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", torch_private.GRADIENT_STRIDES)
        yield


def _started_by_torchrun() -> bool:
    known = distributed.is_available() and all(name in os.environ for name in STARTED_BY_TORCHRUN)
    return known and int(os.environ["WORLD_SIZE"]) > 1
