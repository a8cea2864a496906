"""The result of comparing one output, and a table of such results."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from fxbin.report.grid import Column, Grid


@dataclass(frozen=True)
class OutputCheck:
    """The comparison of one output of the model with PyTorch's, over all samples."""

    name: str
    """Name of the output."""

    difference: float
    """Largest absolute difference to PyTorch; infinite if shapes differ, or only one has NaN or infinity."""

    allowed: float
    """Largest allowed difference: the tolerance, times the largest value of the output if that is above 1.

    More if rounding changes the output by more in PyTorch itself, see `at_thresholds`.
    """

    at_thresholds: bool
    """Whether `allowed` is larger than the tolerance because values next to thresholds cross them when
    PyTorch itself rounds them differently."""

    @property
    def is_right(self) -> bool:
        """Whether the difference is allowed."""
        return self.difference <= self.allowed


def output_table(outputs: Sequence[OutputCheck]) -> Grid:
    """A table with one row per output."""
    columns = [Column("output"), Column("largest difference", "right"), Column("allowed", "right")]
    columns.append(Column("", wraps=True))
    rows = [
        [output.name, f"{output.difference:.1e}", f"{output.allowed:.1e}", _verdict(output)]
        for output in outputs
    ]
    return Grid(columns, [list(map(Text, row)) for row in rows])


def _verdict(output: OutputCheck) -> str:
    note = " values at thresholds" if output.at_thresholds else ""
    return f"{'right' if output.is_right else 'WRONG'}{note}"
