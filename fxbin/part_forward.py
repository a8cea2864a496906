"""How a part of a model runs as a graph, around which the model's own code goes on."""

from types import MethodType
from typing import Any

from torch import nn

from fxbin.mode_graphs import GraphChoice, ModeGraph, counted_alone


class PartForward(GraphChoice):
    """Stands in for the `forward` of a module: runs its graph on the parameters of the whole model.

    An attribute of the module, so that the module keeps its class, its hooks, and its place in the model.
    """

    def __init__(self, model: nn.Module, path: str, variants: list[ModeGraph]) -> None:
        super().__init__(model, path, variants)
        self._module = model.get_submodule(path)
        self._own: Any = vars(self._module).get("forward")
        self._run = counted_alone(GraphChoice.__call__)
        self.put_on()
        self.compile()

    def take_off(self) -> None:
        """Let the module's own code run."""
        del vars(self._module)["forward"]
        if self._own is not None:
            vars(self._module)["forward"] = self._own

    def put_on(self) -> None:
        """Run the graph again."""
        vars(self._module)["forward"] = MethodType(self._run, self)
