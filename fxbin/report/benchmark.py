"""The report of a benchmark: how long each form of a model takes in each runtime."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.text import Text

from fxbin.errors import ExportError
from fxbin.report.grid import Column, Grid
from fxbin.report.text import as_text

BenchmarkRuntime = Literal["engine", "onnxruntime", "openvino"]
"""``"engine"`` is PyTorch, with `fxbin.deploy` for the form in 1 bit. ``"onnxruntime"`` runs this form
with fxbin's operators."""

NAMES = {"engine": "PyTorch", "onnxruntime": "onnxruntime", "openvino": "OpenVINO"}
"""Spelling of each `BenchmarkRuntime` in the table."""

CPU_INFO = Path("/proc/cpuinfo")
"""Where Linux says what the processor is."""


@dataclass(frozen=True)
class Timing:
    """The measurements of one form of the model in one runtime."""

    runtime: BenchmarkRuntime
    """The runtime."""

    name: str
    """Name of the form: ``"float32"``, ``"int8"``, ``"1 bit"`` or ``"1 bit, int8"``; ``"1 bit, computed in
    float"`` where the engine is not available."""

    seconds: tuple[float, ...]
    """Duration of each measured forward."""

    size: int
    """Bytes of the loaded files: the graph and its constants. In PyTorch, those of the weights in memory
    after the runs, with all forms of them: `DeployedModule.held_bytes`."""

    promised: int
    """Number of convolutions that are to run in 1 bit."""

    one_bit: int
    """Number of convolutions that ran in 1 bit."""

    operators: Mapping[str, int]
    """Number of operators that ran by type."""

    @property
    def median(self) -> float:
        """Median duration of a forward, in seconds."""
        return median(self.seconds)


@dataclass(frozen=True)
class BenchmarkReport:
    """The timings of several forms of one model, which took turns in one run."""

    versions: Mapping[BenchmarkRuntime, str]
    """Version of each runtime; that of PyTorch for the engine."""

    device: str
    """Name of the processor."""

    threads: int
    """Number of threads that a runtime used."""

    precision: str
    """OpenVINO's precision hint, for layers that are neither in int8 nor in 1 bit."""

    clock: str
    """``"cpu"`` for CPU time, in which other programs do not count, or ``"wall"`` for wall-clock time."""

    shapes: tuple[tuple[int, ...], ...]
    """Shapes of the inputs."""

    fired: float | None
    """Share of the inputs of binarized convolutions that fire, on which the speed of the engine
    depends; None if it was not timed, or there are none."""

    timings: tuple[Timing, ...]
    """The timing of each form; the others are compared with the first one."""

    model: str = ""
    """Class of the model; empty in files of older versions, which do not name it."""

    binarized: int | None = None
    """Number of its binarized convolutions; None in files of older versions."""

    random_inputs: bool | None = None
    """Whether the inputs are random numbers, not given ones; None in files of older versions."""

    def speedup(self, timing: Timing) -> float:
        """How many times faster `timing` is than the first one, by medians."""
        return self.timings[0].median / timing.median

    @property
    def conditions(self) -> tuple[str, str]:
        """What was measured on what, and how, as two lines."""
        shapes = ", ".join("x".join(map(str, shape)) for shape in self.shapes)
        runtimes = ", ".join(f"{NAMES[runtime]} {version}" for runtime, version in self.versions.items())
        return f"{runtimes} on {self.device}, input {shapes}", self._how()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, medians and ratios included."""
        rows = [
            asdict(timing) | {"median": timing.median, "speedup": self.speedup(timing)}
            for timing in self.timings
        ]
        return asdict(self) | {"timings": rows}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "BenchmarkReport":
        """The report that `to_dict` returned as `plain`, as a file of `fxbin bench --output` has it.

        Raises ExportError if it is not one.
        """
        derived = {"median", "speedup"}
        try:
            rows = [
                {key: value for key, value in row.items() if key not in derived} for row in plain["timings"]
            ]
            timings = tuple(Timing(**row | {"seconds": tuple(row["seconds"])}) for row in rows)
            shapes = tuple(tuple(shape) for shape in plain["shapes"])
            report = cls(**{**plain, "shapes": shapes, "timings": timings})
        except (KeyError, TypeError, AttributeError) as error:
            raise ExportError(
                f"not the report of a benchmark ({error!r}): expected what `fxbin bench --output` writes"
            ) from error
        if not timings:
            raise ExportError("the report of a benchmark without timings: run `fxbin bench --output` again")
        return report

    def __str__(self) -> str:
        return as_text(self.__rich__())

    def __rich__(self) -> RenderableType:
        figures = ("ms", "times faster", "convolutions in 1 bit", "MB")
        columns = [Column(""), *(Column(title, "right") for title in figures)]
        rows = [
            [
                f"{NAMES[timing.runtime]}, {timing.name}",
                f"{timing.median * 1e3:.2f}",
                f"{self.speedup(timing):.1f}",
                f"{timing.one_bit} of {timing.promised}" if timing.promised else "",
                f"{timing.size / 1e6:.2f}",
            ]
            for timing in self.timings
        ]
        table = Grid(columns, [list(map(Text, row)) for row in rows])
        return Group(*map(Text, self.conditions), table)

    def _how(self) -> str:
        clock = "CPU time" if self.clock == "cpu" else "time"
        parts = [f"median {clock} of {len(self.timings[0].seconds)} runs, taken in turns"]
        parts += [
            f"{self.threads} thread{'s' * (self.threads != 1)}"
            + (f", hint {self.precision}" if "openvino" in self.versions else "")
        ]
        inputs = {True: "random inputs", False: "the given inputs", None: "the timed inputs"}
        if self.fired is not None:
            parts.append(f"{self.fired:.0%} of the activations fire for {inputs[self.random_inputs]}")
        return "; ".join(parts)


def processor_name() -> str:
    """Name of the processor as Linux knows it; elsewhere its architecture."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
