"""Builds wheels that hold the 1-bit engine as a compiled library; everything else is in pyproject.toml.

Without a C compiler, the wheel holds only its sources, as the source distribution does: the engine is then
built where it first runs.
"""

import re
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
OLDEST_GLIBC = 17
"""The minor version of glibc 2 that the oldest manylinux tag of pip's today stands for, manylinux2014."""

sys.path.insert(0, str(ROOT))  # a build in isolation does not find fxbin otherwise

from fxbin.engine.build import build_into  # noqa: E402
from fxbin.errors import EngineError  # noqa: E402


class BuildWithEngine(build_py):  # type: ignore[misc]
    """Adds the compiled engine to what goes into a wheel."""

    def run(self) -> None:
        """Copy the Python files, and build the engine beside those that load it."""
        super().run()
        if self.editable_mode:
            return
        try:
            print("built", build_into(Path(self.build_lib) / "fxbin/engine"))
        except EngineError as error:
            print(f"warning: the wheel will not hold the compiled engine: {error}", file=sys.stderr)


class PlatformWheel(bdist_wheel):  # type: ignore[misc]
    """Names the wheel after the machines that its engine runs on, whatever their Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """``py3-none-manylinux_2_17_x86_64`` and the like; ``py3-none-any`` without the engine."""
        libraries = [*Path(self.bdist_dir).glob("fxbin/engine/fxbin_engine_*.so")]
        if not libraries:
            return ("py3", "none", "any")
        self.root_is_pure = False
        platform = super().get_tag()[2]
        self.root_is_pure = True
        if platform.startswith("linux_"):
            minor = max(OLDEST_GLIBC, *(needed_glibc(library) for library in libraries))
            platform = platform.replace("linux_", f"manylinux_2_{minor}_", 1)
        return ("py3", "none", platform)


def needed_glibc(library: Path) -> int:
    """The minor version of glibc 2 that `library` needs, as the names of the symbols in it say."""
    return max((int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", library.read_bytes())), default=0)


setup(cmdclass={"build_py": BuildWithEngine, "bdist_wheel": PlatformWheel})
