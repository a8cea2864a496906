"""Checks paths of files that a runtime will read."""

from collections.abc import Sequence
from pathlib import Path

from fxbin.errors import ExportError


def checked_path(path: Path, suffixes: Sequence[str]) -> Path:
    """Return `path`; raise ExportError unless it is an existing file with one of `suffixes`."""
    if path.suffix not in suffixes:
        raise ExportError(f"path: {str(path)!r}: expected a file that ends in {' or '.join(suffixes)}")
    if not path.is_file():
        writer = "fxbin.export_program" if path.suffix == ".pt2" else "fxbin.export_onnx"
        raise ExportError(f"path: the file {str(path)!r} does not exist; {writer} writes one")
    return path
