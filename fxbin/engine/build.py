"""Builds the engine once for each version of its sources, and keeps it."""

import atexit
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fxbin.engine.compiler import FLAGS, LIBRARIES, Compiler, find_compilers
from fxbin.errors import EngineError

SOURCES = Path(__file__).parent / "kernels"

NO_COMPILER = (
    "no C compiler was found: install one (Debian, Ubuntu: apt install gcc; macOS: xcode-select --install), "
    'or pip install "fxbin[compiler]", or name one in the environment variable CC'
)


class CompilerError(EngineError):
    """A compiler does not start or does not compile: another one may."""


def built_library() -> Path:
    """The engine as a shared library: that of the wheel, or one that is built by the first compiler that can.

    It is built once. Where CC names a compiler, that of the wheel does not count. Raises EngineError if there
    is no compiler, or if each fails: then with the error of the first.
    """
    shipped = Path(__file__).parent / shipped_name()
    if shipped.exists() and not os.environ.get("CC"):
        return shipped
    return _built(_built_by)


def build_into(folder: Path) -> Path:
    """Build the engine for a wheel, into the folder of this file there. Raises as `built_library`."""
    return _built(lambda compiler: _build(compiler, folder, lambda _: shipped_name()))


def _built(build: Callable[[Compiler], Path]) -> Path:
    errors = []
    for compiler in find_compilers():
        try:
            return build(compiler)
        except CompilerError as error:
            errors.append(error)
    raise errors[0] if errors else EngineError(NO_COMPILER)


def _built_by(compiler: Compiler) -> Path:
    name = key(compiler)
    # Before anything is written: an image may come with a cache that its users can only read.
    kept = _kept(chosen_folder(), name)
    if kept is not None:
        return kept
    folder = cache_folder()
    with _only_one(folder / f"fxbin_engine_{name}.lock"):
        return _kept(folder, name) or _build(
            compiler, folder, lambda made: f"fxbin_engine_{name}_{_digest(made)}.so"
        )


def key(compiler: Compiler) -> str:
    """A name for all that the library is made of: sources, flags, compiler and machine."""
    try:
        version = compiler.version()
    except OSError as error:
        raise CompilerError(f"the C compiler {compiler.command[0]!r} does not start: {error}") from error
    digest = hashlib.sha256()
    for part in (*FLAGS, *LIBRARIES, *compiler.command, version, platform.platform()):
        digest.update(part.encode() + b"\0")
    digest.update(_sources())
    return digest.hexdigest()[:20]


def shipped_name() -> str:
    """The name of the library in a wheel, with a digest of the sources, which may not be others."""
    return f"fxbin_engine_{hashlib.sha256(_sources()).hexdigest()[:20]}.so"


def _sources() -> bytes:
    """Names and contents of all sources."""
    return b"".join(
        source.name.encode() + b"\0" + source.read_bytes() + b"\0"
        for source in sorted(SOURCES.glob("*.[ch]"))
    )


def chosen_folder() -> Path | None:
    """The folder of built libraries: FXBIN_CACHE_DIR, or ``fxbin`` in the user's cache; None without home."""
    if chosen := os.environ.get("FXBIN_CACHE_DIR"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fxbin"
    except RuntimeError:  # a user without an entry in the system's list, as in many containers
        return None


def cache_folder() -> Path:
    """`chosen_folder`, which is created.

    Only its owner may write there, as what lies there is loaded into the process. Where there can be no such
    folder, it is a new temporary one, and every process builds for itself.
    """
    folder = chosen_folder()
    if folder is not None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            if os.environ.get("FXBIN_CACHE_DIR"):
                raise EngineError(
                    f"FXBIN_CACHE_DIR: expected a folder that can be written to, got {str(folder)!r}: "
                    f"{error.strerror}"
                ) from error
    temporary = Path(tempfile.mkdtemp(prefix="fxbin-engine-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


def _kept(folder: Path | None, name: str) -> Path | None:
    """The library of that name in `folder`, if it is there whole.

    To load a part of one, which a full disk or a loss of power can leave, may end the process.
    """
    if folder is None:
        return None
    for path in folder.glob(f"fxbin_engine_{name}_*.so"):
        with suppress(OSError):
            if path.stem.endswith(f"_{_digest(path)}"):
                return path
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


def _build(compiler: Compiler, folder: Path, named: Callable[[Path], str]) -> Path:
    """Build the library beside its place in `folder`, and put it there in one step, under its name."""
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        made = Path(beside) / "fxbin_engine.so"
        problem = compiler.build(sorted(SOURCES.glob("*.c")), made)
        if not problem and not made.exists():
            problem = "it wrote no file"
        if problem:
            raise CompilerError(f"the C compiler {compiler.command[0]!r} failed: {_first_error(problem)}")
        return made.replace(folder / named(made))


def _first_error(problem: str) -> str:
    lines = problem.splitlines()
    return next((line for line in lines if "error" in line), lines[0])


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Wait until no other process is building the same library.

    Only saves work: a library is put in its place whole. Systems without such locks build twice.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("w") as file:
        with suppress(OSError):  # some network file systems have none
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
