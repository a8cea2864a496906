"""Builds the engine once for each version of its sources, and keeps it."""

import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fxbin.engine.compiler import FLAGS, LIBRARIES, Compiler, find_compiler
from fxbin.errors import EngineError

SOURCES = Path(__file__).parent / "kernels"

NO_COMPILER = (
    "no C compiler was found: install one (Debian, Ubuntu: apt install gcc; macOS: xcode-select --install), "
    'or pip install "fxbin[compiler]", or name one in the environment variable CC'
)


def built_library() -> Path:
    """The engine as a shared library, which is built if it has not been.

    Raises EngineError if there is no compiler, or if it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise EngineError(NO_COMPILER)
    folder = cache_folder()
    path = folder / f"fxbin_engine_{key(compiler)}.so"
    if path.exists():
        return path
    with _only_one(folder / f"{path.stem}.lock"):
        if not path.exists():
            _build(compiler, path)
    return path


def key(compiler: Compiler) -> str:
    """A name for all that the library is made of: sources, flags, compiler and machine."""
    try:
        version = compiler.version()
    except OSError as error:
        raise EngineError(f"the C compiler {compiler.command[0]!r} does not start: {error}") from error
    digest = hashlib.sha256()
    for part in (*FLAGS, *LIBRARIES, *compiler.command, version, platform.platform()):
        digest.update(part.encode() + b"\0")
    for source in sorted(SOURCES.glob("*.[ch]")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def cache_folder() -> Path:
    """The folder of built libraries, which is created: FXBIN_CACHE_DIR, or ``fxbin`` in the user's cache.

    Only its owner may write there, as what lies there is loaded into the process. Where there can be no such
    folder, it is a new temporary one, and every process builds for itself.
    """
    chosen = os.environ.get("FXBIN_CACHE_DIR")
    if chosen:
        folder = Path(chosen)
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fxbin"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        if chosen:
            raise EngineError(
                f"FXBIN_CACHE_DIR: expected a folder that can be written to, got {chosen!r}: {error.strerror}"
            ) from error
        return Path(tempfile.mkdtemp(prefix="fxbin-engine-"))


def _build(compiler: Compiler, path: Path) -> None:
    """Build the library beside `path`, and put it there in one step."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        problem = compiler.build(sorted(SOURCES.glob("*.c")), made)
        if problem:
            raise EngineError(f"the C compiler {compiler.command[0]!r} failed: {_first_error(problem)}")
        made.replace(path)


def _first_error(problem: str) -> str:
    lines = problem.splitlines()
    return next((line for line in lines if "error" in line), lines[0])


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Wait until no other process is building the same library.

    Only saves work: a library is put in its place whole. Systems without fcntl build twice.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
