"""Checks that the files of a run can be written, before any training, and explains when one cannot be."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fxbin.errors import CheckpointError, ConfigError

PROBE = ".fxbin-write-test"


def check_output(folder: Path, needed: int = 0) -> None:
    """Raise ConfigError if the files of a run cannot be written to `folder`, which is made if it is missing.

    `needed` is the number of bytes that must be free at least; a file is written to try.
    """
    probe = folder / PROBE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"fxbin")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ConfigError(
            f"--output: {folder} cannot be written to ({why(error)}). Name another folder with --output."
        ) from error
    finally:
        _remove(probe)
    if free < needed:
        raise ConfigError(
            f"--output: {folder} has {_megabytes(free)} left, and one checkpoint of this run needs "
            f"{_megabytes(needed)} or more. Make room, or name another folder with --output."
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


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
