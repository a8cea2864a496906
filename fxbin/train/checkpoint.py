"""Checkpoints: one file with everything a training run needs to resume as if it had not been stopped."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from fxbin.atomic_write import replacing
from fxbin.binarizers.ranks import rank_count
from fxbin.errors import CheckpointError
from fxbin.errors.messages import listed
from fxbin.train.processes import own_rank
from fxbin.train.tensor_file import load_tensors

FORMAT = 1
"""Version of the file's content; increased when a field changes its meaning."""


@dataclass
class Checkpoint:
    """The state of a run after an epoch, or within one, as tensors, plain values and containers only."""

    config: dict[str, Any]
    """The config as `load_config` takes it, command-line options applied; the run is rebuilt from it."""

    phase: str
    """``"pretraining"`` or ``"staged"``."""

    epoch: int
    """The last finished epoch of `phase`, counted from 0; -1 while the first one is in training."""

    model: dict[str, Tensor]
    """state_dict of the network in training: the original one while pretraining, then the transformed one."""

    optimizer: dict[str, Any]
    """state_dict of the optimizer of `phase`."""

    schedule: dict[str, Any]
    """state_dict of the schedule of `phase`."""

    teacher: dict[str, Tensor] | None
    """state_dict of the network to learn from; None while the full-precision network is in training."""

    rng: dict[str, Any]
    """Random state, as `rng_state` returns it."""

    history: list[dict[str, Any]]
    """One `EpochRecord.to_dict()` for each epoch so far, of both phases."""

    format: int = FORMAT
    """Version of the file's content, `FORMAT` when it was written."""

    average: dict[str, Tensor] | None = None
    """state_dict of the `StagedAverage` of the transformed model; None without one."""

    teacher_config: dict[str, Any] | None = None
    """Config of the run that the network to learn from comes from; None if it comes from no run."""

    data: dict[str, Any] | None = None
    """What `Data.kept` returns: classes, preprocessing, what is held out; None if the config says it all."""

    position: dict[str, Any] | None = None
    """The fields of a `Position` in the epoch after `epoch`, of which a part is done; None between epochs."""

    scaler: dict[str, Any] | None = None
    """State of the scaled loss of `precision` ``"float16"``; None without it."""

    config_folder: str | None = None
    """Folder to which paths in `config` are relative; None without such paths."""

    def folders(self, file: Path | None = None) -> list[Path]:
        """Where to look for what the config names, beside the current folder; `file` holds the checkpoint."""
        kept = [Path(self.config_folder)] if self.config_folder is not None else []
        return kept if file is None else [*kept, file.absolute().parent]


OPTIONAL = {"average", "teacher_config", "config_folder", "scaler", "data", "position"}
"""Entries that a file has only if they are not None: files of runs without them stay readable everywhere."""


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write `path` so that a crash at any moment leaves either the old file or the new one."""
    content = {entry.name: getattr(checkpoint, entry.name) for entry in fields(checkpoint)}
    content = {key: value for key, value in content.items() if key not in OPTIONAL or value is not None}
    # Always the same name, so that the next run overwrites a file that a killed run left behind.
    with replacing(path, f".{path.name}.tmp") as stream:
        torch.save(content, stream)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a file that `save_checkpoint` wrote, with its tensors on `device`.

    Only tensors and plain values are read: a checkpoint from an unknown source cannot run code.
    Raises CheckpointError if the file is missing, damaged, or not a checkpoint of this format.
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
    if not isinstance(content, dict) or set(content) | OPTIONAL != names or content["format"] != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} was not written by `fxbin train` in format {FORMAT}: it holds "
            f"{_keys_of(content)}. For a state_dict of your own loop, name its config with --config."
        )
    return Checkpoint(**content)


def _keys_of(content: object) -> str:
    return listed(sorted(map(str, content))) if isinstance(content, dict) else f"a {type(content).__name__}"


def rng_state() -> dict[str, Any]:
    """The states of torch's random number generators on the CPU and on every GPU, of all processes.

    If there are several processes, all of them must call it.
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
    """Restore `state`, as `rng_state` returned it; GPUs and processes missing in it keep their own."""
    rank = own_rank()
    if rank > 0:
        others = state.get("other_ranks", ())
        if rank > len(others):
            return
        state = others[rank - 1]
    torch.set_rng_state(state["cpu"].cpu())
    for index, cuda in enumerate(state.get("cuda", ())[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda.cpu(), index)
