"""The C sources under AddressSanitizer and UndefinedBehaviorSanitizer, on random shapes."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fxbin.engine.build import SOURCES
from fxbin.engine.compiler import Compiler, find_compilers

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


@pytest.mark.parametrize("driver", ["driver", "onnxruntime_driver", "training_driver"])
def test_kernels_read_and_write_nothing_else(tmp_path: Path, driver: str) -> None:
    compiler = next((each for each in find_compilers() if works(each, tmp_path)), None)
    if compiler is None:
        pytest.skip("no C compiler with sanitizers")
    program = tmp_path / driver
    sources = map(str, [*SOURCES.glob("*.c"), Path(__file__).with_name(f"{driver}.c")])
    flags = ("-std=c11", "-O0", "-g", "-ffp-contract=off", f"-I{SOURCES}", "-Wall", "-Wextra", "-Werror")
    command = [*compiler.command, *flags, *SANITIZERS, *sources, "-o", str(program), "-lpthread", "-lm"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([str(program), SECONDS, "7"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("shapes\n")
