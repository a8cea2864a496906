"""The report of a benchmark: how long each form of a model takes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fxbin.openvino.verify_report import ONE_BIT_KIND
from fxbin.report.table import as_text


@dataclass(frozen=True)
class Timing:
    """The measurements of one form of the model."""

    name: str
    """Name of the form: ``"float32"``, ``"int8"``, ``"1 bit"`` or ``"1 bit, int8"``."""

    seconds: tuple[float, ...]
    """Duration of each measured forward."""

    size: int
    """Bytes of the loaded files: the graph and its constants."""

    operators: Mapping[str, int]
    """Number of operators of the compiled model by type."""

    @property
    def median(self) -> float:
        """Median duration of a forward, in seconds."""
        return median(self.seconds)

    @property
    def one_bit(self) -> int:
        """Number of convolutions that ran in 1 bit."""
        return self.operators.get(ONE_BIT_KIND, 0)


@dataclass(frozen=True)
class BenchmarkReport:
    """The timings of several forms of one model, which took turns in one run."""

    runtime: str
    """Version of OpenVINO."""

    device: str
    """Name of the processor."""

    threads: int
    """Number of threads that OpenVINO used."""

    precision: str
    """OpenVINO's precision hint, for layers that are neither in int8 nor in 1 bit."""

    clock: str
    """``"cpu"`` for CPU time, in which other programs do not count, or ``"wall"`` for wall-clock time."""

    shapes: tuple[tuple[int, ...], ...]
    """Shapes of the inputs."""

    promised: int
    """Number of convolutions that the export writes in 1 bit."""

    timings: tuple[Timing, ...]
    """The timing of each form; the others are compared with the first one."""

    def speedup(self, timing: Timing) -> float:
        """How many times faster `timing` is than the first one, by medians."""
        return self.timings[0].median / timing.median

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, medians and ratios included."""
        rows = [
            asdict(timing)
            | {"median": timing.median, "speedup": self.speedup(timing), "one_bit": timing.one_bit}
            for timing in self.timings
        ]
        return asdict(self) | {"timings": rows}

    def __str__(self) -> str:
        return as_text(self.__rich__())

    def __rich__(self) -> RenderableType:
        table = Table(box=box.MARKDOWN)
        for title in ("", "ms", "times faster", "convolutions in 1 bit", "MB"):
            table.add_column(title, justify="right" if title else "left")
        for timing in self.timings:
            table.add_row(
                timing.name,
                f"{timing.median * 1e3:.2f}",
                f"{self.speedup(timing):.1f}",
                f"{timing.one_bit} of {self.promised}" if timing.one_bit else "",
                f"{timing.size / 1e6:.2f}",
            )
        shapes = ", ".join("x".join(map(str, shape)) for shape in self.shapes)
        runs = len(self.timings[0].seconds)
        clock = "CPU time" if self.clock == "cpu" else "time"
        how = (
            f"median {clock} of {runs} runs, taken in turns; {self.threads} thread(s), hint {self.precision}"
        )
        return Group(Text(f"OpenVINO {self.runtime} on {self.device}, input {shapes}"), Text(how), table)
