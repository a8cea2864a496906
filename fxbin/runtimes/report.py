"""The report of a comparison of runtimes."""

from dataclasses import dataclass
from typing import Literal

from rich.console import Group, RenderableType
from rich.text import Text

from fxbin.report.text import as_text, unbroken
from fxbin.verification.output_check import OutputCheck, output_table

Runtime = Literal["compiled", "engine", "onnxruntime", "openvino"]
"""``"compiled"`` is `torch.compile`, which needs a C++ compiler. ``"engine"`` is the model that
`fxbin.deploy` makes, in PyTorch. The others are packages that run a file."""

IN_PYTORCH: frozenset[Runtime] = frozenset({"compiled", "engine"})
"""The runtimes that take the model itself, not a file."""


@dataclass(frozen=True)
class RuntimeResult:
    """The result of one runtime, compared with PyTorch eager."""

    runtime: Runtime
    """Name of the runtime."""

    outputs: tuple[OutputCheck, ...]
    """The check of each output of the model; empty if the runtime gave none."""

    layers: int
    """Number of binarized call sites that were compared."""

    first_difference: str | None
    """Name of the first call site that differs, in execution order; None if none does."""

    problem: str
    """Why the runtime gave no outputs, or what else is wrong; empty if nothing is."""

    form: str = ""
    """What ran, where there is more than one form: ``"fxbin's operators, in 1 bit"`` for onnxruntime."""

    @property
    def is_right(self) -> bool:
        """Whether the runtime had no problem and all outputs and layers are right."""
        return not self.problem and self.first_difference is None and all(x.is_right for x in self.outputs)

    @property
    def has_right_values(self) -> bool:
        """Whether the runtime gave outputs, and all outputs and layers are right, whatever else is wrong."""
        outputs_are_right = all(output.is_right for output in self.outputs)
        return bool(self.outputs) and self.first_difference is None and outputs_are_right


@dataclass(frozen=True)
class RuntimeReport:
    """What `compare_runtimes` returns: runtimes compared with PyTorch eager. Prints a table for each."""

    results: tuple[RuntimeResult, ...]
    """The result of each runtime, in the order asked for."""

    @property
    def is_right(self) -> bool:
        """Whether the results of all runtimes are right."""
        return all(result.is_right for result in self.results)

    @property
    def has_right_values(self) -> bool:
        """Whether all runtimes gave the right values, even if one did not compute them in 1 bit."""
        return all(result.has_right_values for result in self.results)

    def __str__(self) -> str:
        return as_text(self.__rich__())

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = []
        for result in self.results:
            form = f" ({result.form})" if result.form else ""
            title = f"{result.runtime}{form} beside PyTorch eager: {result.problem}"
            parts.append(Text(title.rstrip(": ")))
            if result.outputs:
                parts.append(output_table(result.outputs))
            if result.first_difference is not None:
                parts.append(unbroken(Text(f"the first layer that differs: {result.first_difference}")))
            elif result.layers:
                parts.append(Text(f"layers: {result.layers} of {result.layers} right"))
        return Group(*parts)
