"""Finds before the work that an output file cannot be written, and says why."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fxbin.atomic_write import is_replaceable
from fxbin.errors import ExportError, FxbinError

REASONS = {
    errno.EACCES: "there is no permission to write",
    errno.EPERM: "there is no permission to write",
    errno.EROFS: "its file system is read-only",
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOENT: "no file can be made",  # as in /proc: the folder itself is there
}


def check_writable_file(path: Path, option: str) -> None:
    """Raise ExportError if `path`, the value of `option`, cannot be written. Nothing is made or changed."""
    with explained_writing(path, option):
        # Of a link, what counts is the file that it leads to.
        target = path.resolve()
        if target.is_dir():
            raise ExportError(f"{option}: {str(path)!r} is a folder; give the name of a file")
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if is_replaceable(target):
        reason = why_not_writable(target.parent)
        if reason is not None:
            raise ExportError(f"{option}: {str(path)!r} cannot be written: {reason}. Choose another file.")


def why_not_writable(folder: Path) -> str | None:
    """Why `folder` cannot be made and written to, as the end of a sentence; None if it can. It is not made.

    A file is written for a moment to the folder, or to the one in which it would be made: that finds more
    than the permissions do.
    """
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        return f"{place} is not a folder"
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".fxbin-") as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        return f"in {place}, {REASONS.get(error.errno or 0, error.strerror)}"
    return None


@contextmanager
def explained_writing(path: Path, option: str) -> Iterator[None]:
    """Turn an error of the system in writing `path`, the value of `option`, into ExportError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, FxbinError) or (isinstance(error, RuntimeError) and not is_write_error(error)):
            raise
        raise ExportError(
            f"{option}: {str(path)!r} cannot be written: {why(error)}. What was there before is kept. Choose "
            "another file, or make room."
        ) from error


def is_write_error(error: RuntimeError) -> bool:
    """Whether `error` is that of torch's writer of files, which hides the error of the system."""
    return "PytorchStreamWriter" in str(error) or isinstance(error.__context__, OSError)


def why(error: Exception) -> str:
    """What the system says about `error`, such as ``No space left on device``."""
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, OSError) and cause.errno is not None:
        return os.strerror(cause.errno)
    return str(error).partition("\n")[0]
