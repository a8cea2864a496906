"""Checks the output folder of a run before anything is written to it."""

import errno
import os
import tempfile
from pathlib import Path

from fxbin.errors import ConfigError

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
