"""Where in a model the first NaN or infinity comes up."""

import inspect
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, fx

from fxbin.effects_undone import effects_undone
from fxbin.module import BinarizedModule
from fxbin.node_info import node_info
from fxbin.tracing.containers import leaves


def first_nonfinite(model: BinarizedModule, *args: Any, **kwargs: Any) -> str | None:
    """Run `model` on a batch and name what is the first to have a NaN or an infinity; None if nothing has.

    For a loss that is not a number any more. Training binarizers hand NaN on instead of giving it a level, so
    it does reach the loss. The name is that of an input, a parameter, a buffer, or a node as `node_names`
    lists it. Runs in the mode the model is in, waits for the device after each node, and changes nothing.

    Limits: around islands, inputs of the parts are looked at, not what their code does in between.
    Inside a `leaf_modules` class it names the module only. A batch norm whose running statistics are
    spoilt shows in eval mode, where it uses them.
    """

    def search(graph: fx.Graph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _Search(model, graph, _by_name(graph, args, kwargs)).run()

    whole = model.computed_graph(args, kwargs)
    with torch.no_grad(), effects_undone(model), ExitStack() as stack:
        for part in model.traced_parts.values():
            stack.enter_context(part.run_by(search))
        try:
            output = model(*args, **kwargs) if whole is None else search(whole, args, kwargs)
        except _FoundError as found:
            return found.name
    return None if _is_finite(output) else f"the code of {type(model).__name__}, which runs as it is"


class _FoundError(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Search(fx.Interpreter):
    """Stops at the first node whose value is not finite."""

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
    info = node_info(node)
    if node.op == "placeholder":
        return f"the input {str(node.target).lstrip('*')!r}"
    if node.op == "get_attr":
        return f"the parameter or buffer {node.target!r}"
    return info.name if info is not None else str(node)


def _by_name(graph: fx.Graph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The inputs by the placeholders of `graph`, as a call of its code gives them to these."""
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
