"""Checks that the files of a run can be written before it begins, and explains when one cannot be."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fxbin.errors import CheckpointError, ConfigError
from fxbin.report.units import size_text

REASONS = {
    errno.EACCES: "there is no permission to write",
    errno.EPERM: "there is no permission to write",
    errno.EROFS: "its file system is read-only",
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
}


def check_writable(folder: Path) -> None:
    """Raise ConfigError if `folder` cannot be made and written to. It is not made.

    A file is written for a moment to the folder, or to the one in which it would be made: that finds more
    than the permissions do.
    """
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise ConfigError(
            f"--output: {str(folder)!r} cannot be written: {place} is not a folder. Choose another one."
        )
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".fxbin-") as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        reason = REASONS.get(error.errno or 0, error.strerror)
        raise ConfigError(
            f"--output: {str(folder)!r} cannot be written: in {place}, {reason}. Choose another folder."
        ) from error


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


def is_write_error(error: RuntimeError) -> bool:
    """Whether `error` is that of torch's writer of files."""
    return "PytorchStreamWriter" in str(error) or isinstance(error.__context__, OSError)


def why(error: Exception) -> str:
    """What the system says about `error`, such as ``No space left on device``."""
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, OSError) and cause.errno is not None:
        return os.strerror(cause.errno)
    return str(error).partition("\n")[0]
