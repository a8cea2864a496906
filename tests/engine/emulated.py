"""The engine built for AArch64 and run by qemu, on a machine that is none."""

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from typing_extensions import override

from fxbin.engine.build import SOURCES
from fxbin.engine.compiler import FLAGS, LIBRARIES
from fxbin.engine.library import Engine, EngineWeights
from fxbin.engine.structs import ConvShape, EngineCall, EngineTensor
from fxbin.errors import EngineError
from tests.quick_compiler import WARNINGS

TEXT_SIZE = 256

LACKING = (
    "needs a C compiler for AArch64 (Debian, Ubuntu: apt install gcc-aarch64-linux-gnu; or pip install "
    "ziglang) and qemu-aarch64 (apt install qemu-user)"
)


@dataclass(frozen=True)
class Emulator:
    """What builds programs for AArch64, and what runs them."""

    compiler: tuple[str, ...]
    qemu: str

    def build(self, program: Path, main: Path, flags: tuple[str, ...]) -> Path:
        """Build the engine and the C file `main` into `program`. Warnings are errors."""
        sources = map(str, [*sorted(SOURCES.glob("*.c")), main])
        strict = (*WARNINGS, f"-I{SOURCES}")
        command = [*self.compiler, *flags, *strict, *sources, "-o", str(program), *LIBRARIES, "-lm"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        return program

    def command(self, program: Path, *arguments: str) -> list[str]:
        """What starts `program`."""
        # Where Debian's cross compilers have their libraries; static programs need none.
        return [self.qemu, "-L", "/usr/aarch64-linux-gnu", str(program), *arguments]


def find_emulator() -> Emulator | None:
    """Debian's cross compiler or zig, and qemu; None if one of the two is not there."""
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if qemu is None:
        return None
    if gcc := shutil.which("aarch64-linux-gnu-gcc"):
        return Emulator((gcc,), qemu)
    if find_spec("ziglang") is not None:
        return Emulator((sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl"), qemu)
    return None


def static_flags() -> tuple[str, ...]:
    """Those of the library, for a program that needs no others."""
    return (*(flag for flag in FLAGS if flag not in ("-fPIC", "-shared")), "-static")


class EmulatedEngine(Engine):
    """Each call is a process of qemu: it gets copies of all buffers, and y is copied back."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        main = Path(__file__).with_name("one_call.c")
        self._command = emulator.command(emulator.build(folder / "one_call", main, static_flags()))

    @property
    @override
    def kernels(self) -> tuple[str, ...]:
        return tuple(self.run("kernels").decode().split())

    @override
    def weights(self, shape: ConvShape) -> EngineWeights:
        return _EmulatedWeights(self, shape)

    def run(self, *arguments: str, given: bytes = b"") -> bytes:
        """What the program answers."""
        ran = subprocess.run([*self._command, *arguments], input=given, capture_output=True, check=False)
        assert ran.returncode == 0, (ran.returncode, ran.stderr.decode())
        return ran.stdout


class _EmulatedWeights(EngineWeights):
    def __init__(self, engine: EmulatedEngine, shape: ConvShape) -> None:
        self._emulated, self._shape = engine, shape

    @override
    def convolve(self, call: EngineCall) -> None:
        buffers = list(_buffers(call))
        given = bytes(self._shape.as_struct()) + bytes(call) + _number(len(buffers))
        for place, data, size in buffers:
            given += _number(place) + _number(size) + ctypes.string_at(data, size)
        answer = self._emulated.run(given=given)
        at = 8 + TEXT_SIZE
        if status := int.from_bytes(answer[:8], "little"):
            message = answer[8:at].rstrip(b"\0").decode()
            raise MemoryError(message) if status == 2 else EngineError(message)
        for _, data, size in buffers:
            if data in (call.y.data, call.y_bits.data):
                ctypes.memmove(data, answer[at : at + size], size)
            at += size
        assert at == len(answer)


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _buffers(call: EngineCall) -> Iterator[tuple[int, Any, int]]:
    """Of each pointer that is not null: its place in the call, where it points, and to how many bytes."""
    of_x = 4 if call.x_dtype == 0 else 8
    items = {"x": of_x, "thresholds": of_x, "weight_bits": 1, "y_bits": 8}
    for name, kind in EngineCall._fields_:
        value, place, item = getattr(call, name), getattr(EngineCall, name).offset, items.get(name, 4)
        if kind is EngineTensor and value.data is not None:
            yield place + EngineTensor.data.offset, value.data, value.size * item
        elif kind is ctypes.c_void_p and value is not None:
            yield place, value, getattr(call, f"{name}_size") * item
        elif kind is ctypes.c_char_p and value is not None:
            yield place, value, len(value) + 1
