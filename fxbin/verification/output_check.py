"""What a comparison says about one output."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class OutputCheck:
    """One output of the model, over all samples."""

    name: str

    difference: float
    """Largest absolute difference to PyTorch; infinite for NaN or another shape."""

    allowed: float
    """The tolerance, times the largest value of the output if that is above 1."""

    at_thresholds: bool
    """Whether `allowed` is larger than that, since in PyTorch itself values next to thresholds change the
    output by so much when they are rounded anew."""

    @property
    def is_right(self) -> bool:
        """Whether the difference is allowed."""
        return self.difference <= self.allowed


def output_table(outputs: Sequence[OutputCheck]) -> Table:
    """One row an output."""
    table = Table(box=box.MARKDOWN)
    for title in ("output", "largest difference", "allowed", ""):
        table.add_column(title, justify="right" if "d" in title else "left")
    for output in outputs:
        note = "values at thresholds" if output.at_thresholds else ""
        verdict = "right" if output.is_right else "WRONG"
        table.add_row(
            Text(output.name),
            f"{output.difference:.1e}",
            f"{output.allowed:.1e}",
            f"{verdict} {note}".strip(),
        )
    return table
