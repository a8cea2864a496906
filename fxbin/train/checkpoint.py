"""One file that holds all a training run needs to go on as if it had not been stopped."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from fxbin.binarizers.ranks import rank_count
from fxbin.errors import CheckpointError
from fxbin.train.processes import own_rank
from fxbin.train.tensor_file import load_tensors

FORMAT = 1
"""Raised when a field changes its meaning."""


@dataclass
class Checkpoint:
    """The state after a finished epoch; plain tensors, numbers and containers all through."""

    config: dict[str, Any]
    """The config as `load_config` takes it, command-line options applied: what the run is rebuilt from."""

    phase: str
    """``"pretraining"`` or ``"staged"``."""

    epoch: int
    """Finished epochs of `phase`, from 0."""

    model: dict[str, Tensor]
    """state_dict of the network in training: as it is without fxbin while pretraining, then transformed."""

    optimizer: dict[str, Any]
    schedule: dict[str, Any]

    teacher: dict[str, Tensor] | None
    """state_dict of the network to learn from; None while the full-precision network is in training."""

    rng: dict[str, Any]
    """What `rng_state` returned after the epoch."""

    history: list[dict[str, Any]]
    """One record an epoch so far, both phases."""

    format: int = FORMAT


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write `path` so that a crash at any moment leaves either the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name for all, so that what a killed run left behind is overwritten by the next.
    temporary = path.with_name(f".{path.name}.tmp")
    content = {entry.name: getattr(checkpoint, entry.name) for entry in fields(checkpoint)}
    try:
        with temporary.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a file that `save_checkpoint` wrote, its tensors on `device`.

    Only tensors and plain values are read: a checkpoint from elsewhere cannot run code.
    Raises CheckpointError if the file is missing, damaged, or something else.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist. `fxbin train CONFIG` writes one.")
    try:
        content = load_tensors(path, device)
    except ValueError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {error}. Was it written by `fxbin train`?"
        ) from error
    names = {entry.name for entry in fields(Checkpoint)}
    if not isinstance(content, dict) or set(content) != names or content["format"] != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} is not one of `fxbin train`, format {FORMAT}: it holds "
            f"{sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__}."
        )
    return Checkpoint(**content)


def rng_state() -> dict[str, Any]:
    """The state of torch's random numbers on the CPU and on every GPU, of all processes.

    With several processes all of them must call it.
    """
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if rank_count() == 1:
        return state
    states = [state] * rank_count()
    distributed.all_gather_object(states, state)
    return states[0] | {"other_ranks": states[1:]}


def restore_rng(state: Mapping[str, Any]) -> None:
    """Go back to what `rng_state` returned; GPUs and processes it does not know keep theirs."""
    rank = own_rank()
    if rank > 0:
        others = state.get("other_ranks", ())
        if rank > len(others):
            return
        state = others[rank - 1]
    torch.set_rng_state(state["cpu"].cpu())
    for index, cuda in enumerate(state.get("cuda", ())[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda.cpu(), index)
