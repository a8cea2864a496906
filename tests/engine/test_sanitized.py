"""The C sources under AddressSanitizer and UndefinedBehaviorSanitizer, on random shapes."""

import os
import subprocess
from pathlib import Path

import pytest

from fxbin.engine.build import SOURCES
from fxbin.engine.compiler import Compiler, find_compiler

SECONDS = os.environ.get("FXBIN_SANITIZER_SECONDS", "1")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


def works(compiler: Compiler, folder: Path) -> bool:
    """Whether the compiler has its sanitizers' libraries."""
    source = folder / "empty.c"
    source.write_text("int main(void) { return 0; }\n")
    program = folder / "empty"
    command = [*compiler.command, *SANITIZERS, str(source), "-o", str(program)]
    return all(
        subprocess.run(each, capture_output=True, check=False).returncode == 0
        for each in (command, [str(program)])
    )


@pytest.mark.parametrize("driver", ["driver", "onnxruntime_driver"])
def test_kernels_read_and_write_nothing_else(tmp_path: Path, driver: str) -> None:
    compiler = find_compiler()
    if compiler is None or not works(compiler, tmp_path):
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
