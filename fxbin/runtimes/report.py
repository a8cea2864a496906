"""What several runtimes make of one model."""

from dataclasses import dataclass
from typing import Literal

from rich.console import Group, RenderableType
from rich.text import Text

from fxbin.report.table import as_text
from fxbin.verification.output_check import OutputCheck, output_table

Runtime = Literal["compiled", "onnxruntime", "openvino"]
"""``"compiled"`` is `torch.compile`, which needs a C++ compiler."""


@dataclass(frozen=True)
class RuntimeResult:
    """One runtime beside PyTorch eager."""

    runtime: Runtime
    outputs: tuple[OutputCheck, ...]

    layers: int
    """Binarized call sites that were compared, too."""

    first_difference: str | None
    """Name of the first of them that differs, in execution order; None if none does."""

    problem: str
    """What kept the runtime from giving outputs; empty if nothing did."""

    @property
    def is_right(self) -> bool:
        """Whether it gave outputs, all of them are right, and so are the layers."""
        return (
            not self.problem
            and self.first_difference is None
            and all(output.is_right for output in self.outputs)
        )


@dataclass(frozen=True)
class RuntimeReport:
    """Several runtimes beside PyTorch eager. Prints as a table each."""

    results: tuple[RuntimeResult, ...]

    @property
    def is_right(self) -> bool:
        """Whether all of them are."""
        return all(result.is_right for result in self.results)

    def __str__(self) -> str:
        return as_text(self.__rich__())

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = []
        for result in self.results:
            parts.append(Text(f"{result.runtime} beside PyTorch eager: {result.problem}".rstrip(": ")))
            if result.outputs:
                parts.append(output_table(result.outputs))
            if result.first_difference is not None:
                parts.append(Text(f"the first layer that differs: {result.first_difference}"))
            elif result.layers:
                parts.append(Text(f"layers: {result.layers} of {result.layers} right"))
        return Group(*parts)
