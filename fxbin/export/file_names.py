"""Names of the inputs and outputs of a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from fxbin import torch_private
from fxbin.errors import ExportError
from fxbin.lowering.inputs import BoundInputs

ONLY_TENSORS = "but a file can only have tensors; export a module around it that returns the tensors alone"


@dataclass(frozen=True)
class FileNames:
    """Names of all input tensors and all output tensors of a file, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(
        cls,
        graph: fx.Graph,
        inputs: BoundInputs,
        input_names: Sequence[str] | None,
        output_names: Sequence[str] | None,
    ) -> "FileNames":
        """Return the given names; by default, those of placeholders and of the values that `graph` returns.

        Raises ExportError if the names do not fit, if two are equal, or if the graph returns anything but
        tensors.
        """
        found = cls(
            _chosen("input_names", input_names, inputs.names),
            _chosen("output_names", output_names, _output_names(graph)),
        )
        for name in found.outputs:
            if name in found.inputs:
                raise ExportError(
                    f"model: an input and an output are both called {name!r}, which a file cannot have; "
                    "choose others in input_names or output_names"
                )
        return found


def _chosen(option: str, given: Any, default: Sequence[str]) -> tuple[str, ...]:
    if given is None:
        return tuple(default)
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ExportError(f"{option}: expected a list of names, got {given!r}")
    if len(given) != len(default):
        raise ExportError(
            f"{option}: expected {len(default)} names, for {', '.join(default)}, got {len(given)}"
        )
    for name in given:
        if not isinstance(name, str) or not name or list(given).count(name) > 1:
            raise ExportError(f"{option}: expected names, all different, got {name!r} in {given!r}")
    return tuple(given)


def _output_names(graph: fx.Graph) -> list[str]:
    """Return names of the tensors that the model returns. Raises ExportError if it returns a constant."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    value = output.args[0]
    for leaf in torch_private.pytree.tree_leaves(value):
        if leaf is not None and not isinstance(leaf, fx.Node):
            raise ExportError(f"model: it returns {leaf!r} besides its tensors, {ONLY_TENSORS}")
    if isinstance(value, dict) and all(isinstance(x, fx.Node | None) for x in value.values()):
        return [str(key) for key, x in value.items() if x is not None]
    count = sum(isinstance(leaf, fx.Node) for leaf in torch_private.pytree.tree_leaves(value))
    return ["output", *(f"output_{index}" for index in range(1, count))]
