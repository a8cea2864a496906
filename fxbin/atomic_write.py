"""Replaces files as a whole: a crash or a full disk leaves the old file or the new one."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def replace_file(path: Path, content: bytes | str) -> None:
    """Write `content` to `path`, as `replacing` does. Text is written in UTF-8."""
    with replacing(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, temporary_name: str | None = None) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` once the block is done without an error; make its folder.

    A link stays one: the file that it leads to is replaced. A file keeps its permissions. What is no file,
    such as a pipe, is written to.

    Args:
        path: the file to write.
        temporary_name: the name of the new file until then. By default, nothing else has the same one.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    if not is_replaceable(target):
        with target.open("wb") as stream:
            yield stream
        return
    # A short name, as that of `path` may be long.
    temporary = target.with_name(temporary_name or f".fxbin-{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def is_replaceable(target: Path) -> bool:
    """Whether `target` is a file or not there: another file may take the place of neither pipe nor device."""
    return target.is_file() or not target.exists()
