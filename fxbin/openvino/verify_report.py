"""The report of a verification."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from fxbin.config.operator_name import short_names
from fxbin.report.grid import Column, Grid, Widest
from fxbin.report.text import as_text
from fxbin.verification.output_check import OutputCheck, output_table

ONE_BIT_KIND = "BinaryConvolution"
"""OpenVINO's name for a convolution that runs in 1 bit."""


@dataclass(frozen=True)
class LayerCheck:
    """The check of one convolution that was promised in 1 bit, run alone with its binarizers."""

    name: str
    """Hierarchical name of the call site."""

    runs_as: str | None
    """The type of operator OpenVINO runs it as: ``"BinaryConvolution"``; None if it is not in the file."""

    difference: float
    """Largest absolute difference to PyTorch."""

    allowed: float
    """Largest difference that is allowed."""

    @property
    def is_right(self) -> bool:
        """Whether it runs in 1 bit and its difference is allowed."""
        return self.runs_as == ONE_BIT_KIND and self.difference <= self.allowed


@dataclass(frozen=True)
class VerifyReport:
    """How OpenVINO runs a file, compared with what was promised and with PyTorch."""

    path: Path
    """The file that was verified."""

    runtime: str
    """Version of OpenVINO."""

    device: str
    """Name of the processor."""

    promised: int
    """Number of convolutions that the export writes in 1 bit."""

    repeated: int
    """Number of these that compute the same as another one; OpenVINO may compute them only once."""

    lost: str
    """What another tool has removed from the file, and what to do; empty if nothing is missing."""

    found: int
    """Number of convolutions that OpenVINO runs in 1 bit."""

    operators: Mapping[str, int]
    """Number of operators of the compiled model by type."""

    outputs: tuple[OutputCheck, ...]
    """The check of each output of the model."""

    layers: tuple[LayerCheck, ...]
    """The check of each 1-bit convolution, in execution order; empty if layers were not checked."""

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems found, one sentence each; empty if there are none."""
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
            problems.append("Each layer by itself is right: look at what is between them.")
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
        return Group(head, count, output_table(self.outputs), *tail, *([self._table_of(bad)] if bad else []))

    def _table_of(self, layers: Sequence[LayerCheck]) -> Widest:
        """A row for each of `layers`; a narrow terminal shows module paths instead of hierarchical names."""
        short = short_names([layer.name for layer in self.layers])
        return Widest([_grid({name: name for name in short}, layers), _grid(short, layers)])


def _grid(shown: Mapping[str, str], layers: Sequence[LayerCheck]) -> Grid:
    columns = [Column("layer"), Column("runs as", wraps=True)]
    columns += [Column("largest difference", "right"), Column("allowed", "right")]
    rows = [
        [
            shown[layer.name],
            layer.runs_as or "not in the file",
            f"{layer.difference:.1e}",
            f"{layer.allowed:.1e}",
        ]
        for layer in layers
    ]
    return Grid(columns, [list(map(Text, row)) for row in rows])
