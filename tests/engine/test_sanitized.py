"""The C sources under AddressSanitizer and UndefinedBehaviorSanitizer, on random shapes."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fxbin.engine.build import SOURCES
from fxbin.engine.compiler import Compiler, find_compilers
from tests.quick_compiler import WARNINGS

SECONDS = os.environ.get("FXBIN_SANITIZER_SECONDS", "1")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


def directly(program: Path) -> list[str]:
    """What starts a program for this CPU."""
    return [str(program)]


def works(compiler: Compiler, folder: Path, start: Callable[[Path], list[str]] = directly) -> bool:
    """Whether the compiler's sanitizers find an error; some take the flags and do nothing."""
    source, program = folder / "wrong.c", folder / "wrong"
    source.write_text(
        "#include <stdlib.h>\nint main(int n, char **v) { (void)v; return ((char *)malloc(1))[n]; }\n"
    )
    command = [*compiler.command, *SANITIZERS, str(source), "-o", str(program)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return False
    return b"heap-buffer-overflow" in subprocess.run(start(program), capture_output=True, check=False).stderr


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that compiles a driver and links it with the engine, which is compiled once."""
    folder = tmp_path_factory.mktemp("sanitized")
    compiler = next((each for each in find_compilers() if works(each, folder)), None)
    if compiler is None:
        pytest.skip("no C compiler with sanitizers")
    flags = ("-std=c11", "-O0", "-g", "-ffp-contract=off", f"-I{SOURCES}", *WARNINGS)
    command = [*compiler.command, *flags, *SANITIZERS]
    sources = map(str, SOURCES.glob("*.c"))
    built = subprocess.run(
        [*command, "-c", *sources], cwd=folder, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return [*command, *map(str, folder.glob("*.o")), "-lpthread", "-lm"]


@pytest.mark.parametrize("driver", ["driver", "onnxruntime_driver", "training_driver"])
def test_kernels_read_and_write_nothing_else(sanitized: list[str], tmp_path: Path, driver: str) -> None:
    program, source = tmp_path / driver, Path(__file__).with_name(f"{driver}.c")
    command = [*sanitized, str(source), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([str(program), SECONDS, "7"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("shapes\n")
