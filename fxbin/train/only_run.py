"""Keeps two runs from writing to one folder at the same time."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fxbin.errors import ConfigError
from fxbin.train.output_folder import explained

PATIENCE = 10.0
"""Seconds to wait for another run to end: workers that load pictures outlive a killed one by five, and hold
its lock."""


Stamp = tuple[int, int] | None
"""What changes when a file is replaced; None for a file that is not there."""


def stamp(path: Path) -> Stamp:
    """The stamp of the file at `path`."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Make `folder`, and let no other run write to it during this block.

    Raises ConfigError if another run does, and CheckpointError if the folder cannot be made.
    """
    with explained(folder, "Nothing was saved before."):
        folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def check_unchanged(path: Path, before: Stamp) -> None:
    """Raise ConfigError if the checkpoint at `path` is not that of `before`, from which this run goes on."""
    if stamp(path) != before:
        raise ConfigError(
            f"--output: another run has changed {str(path)!r} since this one read it. Run the same command "
            "again to go on from there."
        )


def _lock(folder: Path) -> int | None:
    """Lock the folder itself: no file is left behind, and the lock ends with the process, however that ends.

    Return the descriptor that holds it; None where the system has no such locks, as Windows and some network
    file systems.
    """
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < end:
                time.sleep(0.1)
                continue
            os.close(descriptor)
            raise ConfigError(
                f"--output: another run is writing to {str(folder)!r} at the moment. Wait until it has "
                "ended, or choose another folder."
            ) from None
        except OSError:
            os.close(descriptor)
            return None
        return descriptor
