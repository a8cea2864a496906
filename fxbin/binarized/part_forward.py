"""Runs a part of a model as a graph, while the model's own code runs around it."""

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import nn

from fxbin.binarized.mode_graphs import GraphChoice, ModeGraph, counted_alone
from fxbin.original.closures import rebound


class PartForward(GraphChoice):
    """Replaces the `forward` of a module: runs its graph on the parameters of the whole model.

    It is an attribute of the module, which keeps its class, its hooks and its place in the model.
    """

    def __init__(self, model: nn.Module, path: str, variants: list[ModeGraph]) -> None:
        super().__init__(model, path, variants)
        self._module = model.get_submodule(path)
        self.own: Any = vars(self._module).get("forward")
        """The `forward` that was assigned to the module itself; None if it has only that of its class."""
        self._run = counted_alone(GraphChoice.__call__)
        self.install()

    def own_run(self) -> Callable[..., Any]:
        """The module's own code, which the graphs replace, as a function with the model as first argument."""
        model: Any = self._model
        caller = model.own_code.callers.get(self._path)

        def own(_model: Any, *args: Any, **kwargs: Any) -> Any:
            # Looked up at each call: the module may be given another class.
            of_class = MethodType(type(self._module).forward, self._module)
            return (caller.forward if caller else self.own or of_class)(*args, **kwargs)

        run: Callable[..., Any] = model.own_code.around(own)
        return run

    def uninstall(self) -> None:
        """Restore the module's own forward; one that was assigned later stays."""
        if getattr(vars(self._module).get("forward"), "__self__", None) is self:
            del vars(self._module)["forward"]
            if self.own is not None:
                vars(self._module)["forward"] = self.own

    def install(self) -> None:
        """Replace the module's own forward by this graph."""
        if vars(self._module).get("forward") is self.own:
            vars(self._module)["forward"] = MethodType(self._run, self)

    def rebind(self, copies: dict[int, Any]) -> None:
        """Let the module's own forward refer to `copies`, by id of what was copied, in a copied model."""
        self.own = rebound(self.own, copies)
