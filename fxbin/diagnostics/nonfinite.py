"""Finds the first value in a model that is NaN or infinite."""

import inspect
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin.binarized.effects_undone import effects_undone
from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.graph.containers import leaves
from fxbin.graph.node_info import node_info


def first_nonfinite(model: nn.Module, *args: Any, **kwargs: Any) -> str | None:
    """Run `model` on a batch and name the first value that is not finite; None if all values are.

    Use it when the loss has become NaN. Binarizers in train mode pass NaN on instead of giving it a level, so
    it reaches the loss. The result names an input, a parameter, a buffer, or a node as `node_names` lists it.
    The model runs in its current mode and does not change; the search waits for the device after each node.

    Raises: TransformError if the model does not come from `fxbin.transform`, or was transformed for calls
            with other arguments only (`other_calls`).

    Limits: Where modules run as their own code (islands), only the inputs and nodes of the traced parts are
            checked, not what that code does in between. Inside a `leaf_modules` class it names the module
            only. A BatchNorm whose running statistics are not finite shows in eval mode only, where it uses
            them.
    """
    binarized = transformed(model, "first_nonfinite")

    def search(graph: fx.Graph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _Search(binarized, graph, _by_name(graph, args, kwargs)).run()

    whole = binarized.computed_graph(args, kwargs)
    with torch.no_grad(), effects_undone(binarized), ExitStack() as stack:
        for part in binarized.traced_parts.values():
            stack.enter_context(part.run_by(search))
        try:
            output = binarized(*args, **kwargs) if whole is None else search(whole, args, kwargs)
        except _FoundError as found:
            return found.name
    return (
        None if _is_finite(output) else f"the code of {type(binarized).__name__}, which runs as plain Python"
    )


class _FoundError(Exception):
    """Ends the search; `name` is what `first_nonfinite` returns."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Search(fx.Interpreter):
    """Interprets a graph, and raises _FoundError at the first node whose value is not finite."""

    def __init__(self, model: BinarizedModule, graph: fx.Graph, inputs: dict[str, Any]) -> None:
        super().__init__(model, graph=graph)
        self._inputs = inputs

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002  (defaults are in)
        return self._inputs[target.lstrip("*")]

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if not _is_finite(value):
            raise _FoundError(_name(node))
        return value


def _is_finite(value: Any) -> bool:
    """Whether no tensor in `value` has a NaN or an infinity."""
    tensors = (x for x in leaves(value) if isinstance(x, Tensor) and x.is_floating_point())
    return all(bool(x.isfinite().all()) for x in tensors)


def _name(node: fx.Node) -> str:
    """What `first_nonfinite` calls the value of `node`."""
    info = node_info(node)
    if node.op == "placeholder":
        return f"the input {str(node.target).lstrip('*')!r}"
    if node.op == "get_attr":
        return f"the parameter or buffer {node.target!r}"
    return info.name if info is not None else str(node)


def _by_name(graph: fx.Graph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call, by placeholder of `graph` without stars, defaults included."""
    parameters: list[inspect.Parameter] = []
    for node in graph.nodes:
        if node.op == "placeholder":
            name = str(node.target)
            stars = len(name) - len(name.lstrip("*"))
            kind: Any = (_PLAIN, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)[stars]
            if kind is _PLAIN and parameters and parameters[-1].kind is not _PLAIN:
                kind = inspect.Parameter.KEYWORD_ONLY
            default = node.args[0] if node.args else inspect.Parameter.empty
            parameters.append(inspect.Parameter(name[stars:], kind, default=default))
    bound = inspect.Signature(parameters).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


_PLAIN = inspect.Parameter.POSITIONAL_OR_KEYWORD
