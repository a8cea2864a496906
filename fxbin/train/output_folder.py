"""Checks that the files of a run can be written before it begins, and explains when one cannot be."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fxbin.errors import CheckpointError, ConfigError
from fxbin.export.output_file import is_write_error, why, why_not_writable
from fxbin.report.units import size_text

AT_THE_END = ("report.json", "model.onnx", "model_ema.onnx", "curves.svg", "graph.dot", "graph.svg")
"""Files that a training writes when it has ended. Until then, an earlier one of the folder has left them."""


def check_writable(folder: Path) -> None:
    """Raise ConfigError if `folder` cannot be made and written to. It is not made."""
    reason = why_not_writable(folder)
    if reason is not None:
        raise ConfigError(f"--output: {str(folder)!r} cannot be written: {reason}. Choose another folder.")


def check_room(folder: Path, needed: int) -> None:
    """Raise ConfigError if fewer than `needed` bytes are free where `folder` is, or would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ConfigError(
            f"--output: {str(folder)!r} has {size_text(8 * free)} left, and one checkpoint of this run needs "
            f"{size_text(8 * needed)} or more. Make room, or choose another folder."
        )


def earlier_outputs(folder: Path) -> list[str]:
    """Names of the files in `folder` that a training writes at its end, and that an earlier one has left."""
    return [name for name in AT_THE_END if (folder / name).is_file()]


@contextmanager
def explained(path: Path, kept: str) -> Iterator[None]:
    """Turn an error of the system in writing `path` into CheckpointError; `kept` says what is not lost."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch.save reports a full disk as a RuntimeError of its own, whose cause is lost.
        if isinstance(error, RuntimeError) and not is_write_error(error):
            raise
        raise CheckpointError(
            f"{path} cannot be written ({why(error)}). {kept} Make room, or repair the folder, and run the "
            "same command again to continue."
        ) from error
