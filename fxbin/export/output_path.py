"""Checks the path of an output file before anything is done."""

import os
from pathlib import Path
from typing import Any

from fxbin.errors import ExportError
from fxbin.export.output_file import check_writable_file


def checked_order(model: Any, path: Any, function: str, suffix: str) -> Path:
    """Return `path` as a `Path`. Raises ExportError if it is not a path, or if `model` is one.

    They are the first two arguments of the public `function`, which writes files that end in `suffix`.
    """
    if isinstance(model, str | os.PathLike):
        raise ExportError(
            f"model: got the path {os.fspath(model)!r}; the model comes first: {function}(model, path)"
        )
    if not isinstance(path, str | os.PathLike):
        raise ExportError(f"path: expected a name such as 'model{suffix}', got {type(path).__name__}")
    return Path(path)


def check_output_path(path: Path, suffix: str) -> None:
    """Raise ExportError unless `path` ends in `suffix` and is in a folder that can be written to."""
    check_output_name(path, "path", suffix)
    folder = path.parent
    if not folder.is_dir():
        raise ExportError(f"path: the folder {str(folder)!r} does not exist; create it first")
    check_writable_file(path, "path")


def check_output_name(path: Path, option: str, *suffixes: str) -> None:
    """Raise ExportError if `path`, the value of `option`, is a folder or does not have one of `suffixes`."""
    if path.is_dir():
        raise ExportError(
            f"{option}: {str(path)!r} is a folder; give the name of a file, such as model{suffixes[0]}"
        )
    if path.suffix not in suffixes:
        raise ExportError(
            f"{option}: {str(path)!r}: expected a name that ends in {' or '.join(suffixes)}, such as "
            f"{path.stem + suffixes[0]!r}"
        )
