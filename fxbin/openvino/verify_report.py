"""What a verification has found."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fxbin.report.table import as_text
from fxbin.verification.output_check import OutputCheck, output_table

ONE_BIT_KIND = "BinaryConvolution"
"""What OpenVINO calls its 1-bit convolution."""


@dataclass(frozen=True)
class LayerCheck:
    """One convolution that was promised in 1 bit, by itself with its binarizers."""

    name: str

    runs_as: str | None
    """What OpenVINO runs it as: ``"BinaryConvolution"``; None if the file does not have it."""

    difference: float
    allowed: float

    @property
    def is_right(self) -> bool:
        """Whether it runs in 1 bit and its difference is allowed."""
        return self.runs_as == ONE_BIT_KIND and self.difference <= self.allowed


@dataclass(frozen=True)
class VerifyReport:
    """What OpenVINO makes of a file, beside what was promised and what PyTorch computes."""

    path: Path
    runtime: str
    """Version of OpenVINO."""

    device: str
    """Name of the processor."""

    promised: int
    """Convolutions that the export writes in 1 bit."""

    repeated: int
    """How many of them repeat another one, input and all; OpenVINO may compute those once."""

    lost: str
    """What a tool has taken from the file since it was written, and the way out; empty if nothing."""

    found: int
    """Convolutions that OpenVINO runs in 1 bit."""

    operators: Mapping[str, int]
    """All operators of the compiled model."""

    outputs: tuple[OutputCheck, ...]
    layers: tuple[LayerCheck, ...]
    """In execution order; empty if they were not asked for."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What is off, in sentences; empty if nothing is."""
        problems = [self.lost] if self.lost else []
        if not self.promised - self.repeated <= self.found <= self.promised:
            problems.append(
                f"{self.promised} convolutions were promised in 1 bit, OpenVINO runs {self.found} in 1 bit."
            )
        wrong = [output for output in self.outputs if not output.is_right]
        if wrong:
            names = ", ".join(repr(output.name) for output in wrong)
            worst = max(output.difference for output in wrong)
            problems.append(f"Not what PyTorch computes: {names}, by up to {worst:.1e}.")
        bad = [layer for layer in self.layers if not layer.is_right]
        if bad:
            problems.append(f"The first layer that is off: {bad[0].name}.")
        elif len(problems) > bool(self.lost) and self.layers:
            problems.append("Each layer by itself is right: look at what stands between them.")
        return tuple(problems)

    def __str__(self) -> str:
        return as_text(self.__rich__())

    def __rich__(self) -> RenderableType:
        head = Text(f"{self.path} in OpenVINO {self.runtime} on {self.device}")
        repeated = f", {self.repeated} of them computed once with another" if self.repeated else ""
        count = Text(f"convolutions in 1 bit: {self.found}, promised: {self.promised}{repeated}")
        bad = [layer for layer in self.layers if not layer.is_right]
        right = (
            f"layers by themselves: {len(self.layers) - len(bad)} of {len(self.layers)} in 1 bit and right"
        )
        tail = [Text(right)] if self.layers else []
        return Group(head, count, output_table(self.outputs), *tail, *([_layers(bad)] if bad else []))


def _layers(layers: list[LayerCheck]) -> Table:
    table = Table(box=box.MARKDOWN)
    for title in ("layer", "runs as", "largest difference", "allowed"):
        table.add_column(title, overflow="fold")
    for layer in layers:
        runs_as = layer.runs_as or "not in the file"
        table.add_row(Text(layer.name), runs_as, f"{layer.difference:.1e}", f"{layer.allowed:.1e}")
    return table
