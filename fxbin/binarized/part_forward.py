"""How a part of a model runs as a graph, around which the model's own code goes on."""

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import nn

from fxbin.binarized.mode_graphs import GraphChoice, ModeGraph, counted_alone


class PartForward(GraphChoice):
    """Stands in for the `forward` of a module: runs its graph on the parameters of the whole model.

    An attribute of the module, so that the module keeps its class, its hooks, and its place in the model.
    """

    def __init__(self, model: nn.Module, path: str, variants: list[ModeGraph]) -> None:
        super().__init__(model, path, variants)
        self._module = model.get_submodule(path)
        self.own: Any = vars(self._module).get("forward")
        """The forward of the module itself, if it has another one than its class."""
        self._run = counted_alone(GraphChoice.__call__)
        self.put_on()

    def own_run(self) -> Callable[..., Any]:
        """What the graphs stand for: the module's own code, with the model as first argument."""
        model: Any = self._model
        owner = model.own_code.owners.get(self._path)
        own = owner.forward if owner else self.own or MethodType(type(self._module).forward, self._module)
        run: Callable[..., Any] = model.own_code.around(lambda _model, *args, **kwargs: own(*args, **kwargs))
        return run

    def take_off(self) -> None:
        """Let the module's own code run."""
        del vars(self._module)["forward"]
        if self.own is not None:
            vars(self._module)["forward"] = self.own

    def put_on(self) -> None:
        """Run the graph again."""
        vars(self._module)["forward"] = MethodType(self._run, self)
