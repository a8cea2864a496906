"""Checks the path of an output file before anything is done."""

import os
from pathlib import Path

from fxbin.errors import ExportError


def check_output_path(path: Path, suffix: str) -> None:
    """Raise ExportError unless `path` ends in `suffix` and is in a folder that can be written to."""
    check_output_name(path, suffix, "path")
    folder = path.parent
    if not folder.is_dir():
        raise ExportError(f"path: the folder {str(folder)!r} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportError(f"path: the folder {str(folder)!r} cannot be written to; choose another one")


def check_output_name(path: Path, suffix: str, option: str) -> None:
    """Raise ExportError if `path`, the value of `option`, is a folder or does not end in `suffix`."""
    if path.is_dir():
        raise ExportError(
            f"{option}: {str(path)!r} is a folder; give the name of a file, such as model{suffix}"
        )
    if path.suffix != suffix:
        raise ExportError(
            f"{option}: {str(path)!r}: expected a name that ends in {suffix}, such as {path.stem + suffix!r}"
        )
