"""What a pass is, and how passes are run."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch.fx import GraphModule


class Pass(ABC):
    """One named rewrite of a graph. Options are dataclass fields; twice equals once."""

    name: ClassVar[str]

    @abstractmethod
    def apply(self, module: GraphModule) -> bool:
        """Rewrite `module` in place; return whether anything changed."""


def run_passes(module: GraphModule, passes: Sequence[Pass]) -> bool:
    """Run `passes` in the order given, checking the graph after each; return whether any changed it.

    What a pass raises keeps its type and gains a note that names the pass.
    """
    changed = False
    for position, pass_ in enumerate(passes):
        try:
            changed |= pass_.apply(module)
            check_graph(module)
        except Exception as error:
            error.add_note(f"in pass {pass_.name!r}, after {[p.name for p in passes[:position]]}")
            raise
    module.recompile()
    return changed


def check_graph(module: GraphModule) -> None:
    """Raise if the graph of `module` is not well formed or refers to what `module` does not have."""
    with warnings.catch_warnings():
        # Plain tensors kept as attributes are fetched by get_attr as well, which lint finds unusual.
        warnings.filterwarnings(
            "ignore", message=".*does not reference an nn.Module, nn.Parameter, or buffer"
        )
        module.graph.lint()
