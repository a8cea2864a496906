"""Checks whether a run can resume from a checkpoint, as its config may have changed since."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fxbin.config import Config
from fxbin.errors import CheckpointError
from fxbin.staged.progress import ENDS
from fxbin.train.checkpoint import Checkpoint
from fxbin.train.history import STAGED
from fxbin.train.settings import read_settings

HARMLESS = {
    *("data_dir", "device", "threads", "log_dir", "target_device", "tensorboard"),
    *("loggers", "early_stop", "workers", "bad_pictures", "checkpoint_every"),
}
"""Top-level keys that do not affect what a run computes, which may change before it resumes."""

OF_STAGES = {
    f"compression.params.{key}"
    for key in (*ENDS, "lr_schedule", "lr_poly_drop_duration_epochs", "lr_per_stage")
}
"""Keys that only the schedule of the stages reads, which may change before a run resumes its pretraining."""


def plain(config: Config) -> dict[str, Any]:
    """The config as JSON values, defaults included, in the form `load_config` takes."""
    return config.to_dict()


def checkpoint_path(output: Path) -> Path:
    """Path of the checkpoint in the folder `output` of a run."""
    return output / "checkpoint.pt"


def check_resumable(output: Path) -> None:
    """Raise CheckpointError if there is no checkpoint in `output`; for runs that must not start over."""
    if not checkpoint_path(output).is_file():
        raise CheckpointError(
            f"--resume: there is no checkpoint in {output}. Name the folder of the run with --output, or "
            "leave --resume out to start one there."
        )


def check_same_config(checkpoint: Checkpoint, path: Path, config: Config) -> None:
    """Raise CheckpointError unless the run whose `checkpoint` is at `path` was started with `config`.

    It names the first key that differs.
    """
    # Read as a config, so that keys which a newer fxbin has added get their defaults.
    checkpoint.config = plain(read_settings(checkpoint.config, also=checkpoint.folders(path)))
    changed = changed_keys(checkpoint, plain(config))
    if changed:
        key, before, now = changed[0]
        others = f" ({len(changed) - 1} more keys differ)" if len(changed) > 1 else ""
        raise CheckpointError(
            f"{key}: the run in {path.parent} was started with {before!r}, the config now says "
            f"{now!r}{others}."
            " Put the old value back to resume, choose another folder with --output, or start over with"
            " --restart."
        )


def check_same_pictures(checkpoint: Checkpoint, now: Sequence[int]) -> None:
    """Raise CheckpointError if an epoch was begun with other training pictures than `Data.training_counts`.

    Which of them it has not seen yet could not be told.
    """
    before = (checkpoint.position or {}).get("training_counts", [])
    if not before or before == list(now):
        return
    if len(before) != len(now):
        difference = f"{len(before)} shards of training pictures, now there are {len(now)}"
    else:
        place = next(i for i, count in enumerate(before) if count != now[i])
        of_shard = f" in shard {place + 1} of {len(now)}" if len(now) > 1 else ""
        difference = f"{before[place]} training pictures{of_shard}, now there are {now[place]}"
    raise CheckpointError(
        f"data: the run was stopped in the middle of an epoch of {difference}, so it is not known which of "
        "them are left. Restore the data until the epoch has ended, choose another folder with --output, or "
        "start over with --restart."
    )


def changed_keys(checkpoint: Checkpoint, config: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Changed keys that affect what is computed, as (key, value in the checkpoint, value now).

    Another number of `epochs` is allowed if it is not below the number already done, and other values of
    `OF_STAGES` until the stages have begun.
    """
    before, now = flatten(checkpoint.config), flatten(config)
    begun = checkpoint.epoch + (2 if checkpoint.position is not None else 1)
    finished = begun if checkpoint.phase == STAGED else 0
    missing = "nothing"
    return [
        (key, before.get(key, missing), now.get(key, missing))
        for key in sorted(before.keys() | now.keys())
        if before.get(key, missing) != now.get(key, missing)
        and re.split(r"[.\[]", key)[0] not in HARMLESS
        and not (key == "epochs" and now[key] >= finished)
        and not (key in OF_STAGES and checkpoint.phase != STAGED)
    ]


def flatten(value: Any, key: str = "") -> dict[str, Any]:
    """Nested objects and lists as one flat dict by key path; a list of one element counts as that element.

    >>> flatten({"compression": [{"mode": "xnor", "target_scopes": ["a", "b"]}]})
    {'compression.mode': 'xnor', 'compression.target_scopes[0]': 'a', 'compression.target_scopes[1]': 'b'}
    """
    if isinstance(value, Mapping) and value:
        items = [(f"{key}.{name}" if key else str(name), inner) for name, inner in value.items()]
    elif isinstance(value, list) and len(value) == 1:
        items = [(key, value[0])]
    elif isinstance(value, list) and value:
        items = [(f"{key}[{index}]", inner) for index, inner in enumerate(value)]
    else:
        return {key: value}
    return {path: leaf for name, inner in items for path, leaf in flatten(inner, name).items()}
