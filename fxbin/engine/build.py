"""Builds the engine once for each version of its sources, compiler and machine, and caches it."""

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
    """A compiler does not start or does not compile; another one may."""


def built_library() -> Path:
    """Return the engine as a shared library: that of the wheel, or one that a compiler builds.

    It is built once, by the first compiler that works. If CC names a compiler, the library in the wheel is
    not used. Raises EngineError if there is no compiler, or the error of the first one if all of them fail.
    """
    shipped = Path(__file__).parent / shipped_name()
    if shipped.exists() and not os.environ.get("CC"):
        return shipped
    return _built(_built_by)


def build_into(folder: Path) -> Path:
    """Build the engine into `folder`, that of this file in a wheel. Raises like `built_library`."""
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
    # Before anything is written: a container image may come with a cache that its users can only read.
    kept = _kept(chosen_folder(), name)
    if kept is not None:
        return kept
    folder = cache_folder()
    with _only_one(folder / f"fxbin_engine_{name}.lock"):
        return _kept(folder, name) or _build(
            compiler, folder, lambda made: f"fxbin_engine_{name}_{_digest(made)}.so"
        )


def key(compiler: Compiler) -> str:
    """Return a digest of all that determines the library: sources, flags, compiler and machine."""
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
    """Return the name of the library in a wheel; its digest of the sources excludes other versions."""
    return f"fxbin_engine_{hashlib.sha256(_sources()).hexdigest()[:20]}.so"


def _sources() -> bytes:
    """Return the names and contents of all sources."""
    return b"".join(
        source.name.encode() + b"\0" + source.read_bytes() + b"\0"
        for source in sorted(SOURCES.glob("*.[ch]"))
    )


def chosen_folder() -> Path | None:
    """Return FXBIN_CACHE_DIR, or else ``fxbin`` in the user's cache; None if the user has no home folder."""
    if chosen := os.environ.get("FXBIN_CACHE_DIR"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fxbin"
    except RuntimeError:  # a user without an entry in the system's list, as in many containers
        return None


def cache_folder() -> Path:
    """Return `chosen_folder`, created if necessary, as a folder that can be written to.

    A new one can be written to only by its owner, because its content is loaded into the process. If that
    fails, it is a new temporary folder, so every process builds for itself; but if FXBIN_CACHE_DIR is set,
    that is an EngineError.
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
    """Return the library of that name in `folder`, if it is there and complete.

    Loading an incomplete one, which a full disk or a loss of power can leave, may end the process.
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
    """Build the library beside its place in `folder`, and move it there in one step, under its name."""
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        made = Path(beside) / "fxbin_engine.so"
        problem = compiler.build(sorted(SOURCES.glob("*.c")), made)
        if not problem and not made.exists():
            problem = "it wrote no file"
        if problem:
            raise CompilerError(f"the C compiler {compiler.command[0]!r} failed: {_first_error(problem)}")
        place = folder / named(made)
        try:
            return made.replace(place)
        except OSError as error:
            raise EngineError(
                f"the engine cannot be written to {str(place)!r}: {error.strerror}; remove what is there"
            ) from error


def _first_error(problem: str) -> str:
    lines = problem.splitlines()
    return next((line for line in lines if "error" in line), lines[0])


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Wait until no other process is building the same library.

    This only saves work, because a library is moved to its place in one step. Where the system has no such
    locks, two processes may both build it.
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
