"""The checkpoints in the folder of a run: the last one, and that of the best epoch."""

from pathlib import Path

from fxbin.errors import CheckpointError
from fxbin.train.best import best_path, final_epochs
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.history import EpochRecord
from fxbin.train.resume import checkpoint_path
from fxbin.train.settings import read_settings


def has_checkpoint(folder: Path) -> bool:
    """Whether `folder` is that of a run which has finished an epoch."""
    last = checkpoint_path(folder)
    return last.is_file() or best_path(last).is_file()


def checkpoint_in(folder: Path, *, best: bool = False) -> Path:
    """The last checkpoint in the `folder` of a run or, with `best`, the one of its best epoch.

    Raises CheckpointError that says why, if it is not there.
    """
    last = checkpoint_path(folder)
    if not has_checkpoint(folder) or not (best or last.is_file()):
        raise CheckpointError(
            f"SOURCE: the folder {folder} has no checkpoint.pt: expected the folder of a run, which "
            "`fxbin train CONFIG --output FOLDER` writes"
        )
    if best and not best_path(last).is_file():
        raise CheckpointError(
            f"--best: the run in {folder} has no best.pt: {_why_no_best(last)} Leave the option out to take "
            "the last checkpoint."
        )
    return best_path(last) if best else last


def _why_no_best(last: Path) -> str:
    """Why there is no best checkpoint beside the `last` one, and what to do, as sentences."""
    checkpoint = load_checkpoint(last)
    history = [EpochRecord(**record) for record in checkpoint.history]
    config = read_settings(checkpoint.config, also=checkpoint.folders(last))
    if final_epochs(config, history):
        return "it has been removed. Restore it, or train again."
    reached = f"epoch {history[-1].epoch + 1}, stage {history[-1].stage!r}" if history else "its first epoch"
    return (
        "it has finished no epoch in which activations and weights are binarized, only up to "
        f"{reached}. Let `fxbin train` continue."
    )
