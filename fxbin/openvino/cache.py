"""The folder in which OpenVINO caches compiled models."""

import os
from pathlib import Path
from typing import Any

from fxbin.errors import ExportError

CacheDir = str | os.PathLike[str] | None
"""Path of a folder; None for no cache."""


def cache_properties(cache_dir: Any) -> dict[str, str]:
    """OpenVINO's property for `cache_dir`, a folder that it creates if needed; empty for None.

    Raises ExportError if `cache_dir` is neither None nor a path, or names a file.
    """
    if cache_dir is None:
        return {}
    if not isinstance(cache_dir, str | os.PathLike) or not os.fspath(cache_dir):
        raise ExportError(f"cache_dir: expected the name of a folder, got {cache_dir!r}")
    if Path(cache_dir).exists() and not Path(cache_dir).is_dir():
        raise ExportError(f"cache_dir: {os.fspath(cache_dir)!r} is a file; give a folder")
    return {"CACHE_DIR": str(Path(cache_dir).resolve())}
