"""The C compiler that builds the engine."""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fxbin.errors import EngineError

FLAGS = (
    "-std=c11",
    "-O3",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    # One rounding per operation, whatever the CPU: all kernels give the same floats.
    "-ffp-contract=off",
    # Otherwise zig adds checks of its own.
    "-fno-sanitize=undefined",
)
LIBRARIES = ("-lpthread",)


@dataclass(frozen=True)
class Compiler:
    """A C compiler with the syntax of gcc."""

    command: tuple[str, ...]
    """The command that starts it: ``("cc",)``, ``("python", "-m", "ziglang", "cc")``."""

    def version(self) -> str:
        """Return what it prints for ``--version``; empty if it prints nothing."""
        return _run([*self.command, "--version"]).stdout

    def build(self, sources: list[Path], output: Path) -> str:
        """Compile `sources` into the shared library `output`; return what went wrong, or an empty string."""
        command = [*self.command, *FLAGS, *map(str, sources), "-o", str(output), *LIBRARIES]
        try:
            found = _run(command)
        except OSError as error:
            return f"it does not start: {error}"
        if found.returncode == 0:
            return ""
        return found.stderr.strip() or f"it ended with exit code {found.returncode}"


def find_compilers() -> list[Compiler]:
    """Return the compiler that the environment variable CC names; without it, cc, gcc, clang and ziglang's.

    Those that are not installed are left out. Raises EngineError if CC is not a command.
    """
    chosen = os.environ.get("CC", "")
    try:
        if command := shlex.split(chosen):
            return [Compiler(tuple(command))]
    except ValueError as error:
        raise EngineError(f"CC: expected a command as in a shell, got {chosen!r}: {error}") from error
    found = [Compiler((path,)) for name in ("cc", "gcc", "clang") if (path := shutil.which(name))]
    if find_spec("ziglang") is not None:
        # By default, zig uses all instructions of this CPU, but other machines may share the cache.
        found.append(Compiler((sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline")))
    return found


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run the user's own compiler, whose output may be in any encoding."""
    return subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, errors="replace", check=False
    )
