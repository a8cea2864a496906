"""Where in a model the first NaN or infinity comes up."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from fxbin.effects_undone import effects_undone
from fxbin.module import BinarizedModule
from fxbin.node_info import node_info


def first_nonfinite(model: BinarizedModule, *args: Any, **kwargs: Any) -> str | None:
    """Run `model` on a batch and name what is the first to have a NaN or an infinity; None if nothing has.

    For a loss that is not a number any more. Training binarizers hand NaN on instead of giving it a level, so
    it does reach the loss. The name is that of an input, a parameter, a buffer, or a node as `node_names`
    lists it. Runs in the mode the model is in, waits for the device after each node, and changes nothing.

    Limits: inside a `leaf_modules` class it names the module only. A batch norm whose running statistics are
    spoilt shows in eval mode, where it uses them.
    """
    graph = model.graphs[-1] if model.training else model.graphs[0]
    search = _Search(model, graph=graph)
    with torch.no_grad(), effects_undone(model):
        try:
            search.run(*_in_order(graph, args, kwargs))
        except _FoundError as found:
            return found.name
    return None


class _FoundError(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Search(fx.Interpreter):
    """Stops at the first node whose value is not finite."""

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        for tensor in tree_leaves(value):
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and not tensor.isfinite().all():
                raise _FoundError(_name(node))
        return value


def _name(node: fx.Node) -> str:
    info = node_info(node)
    if node.op == "placeholder":
        return f"the input {str(node.target).removeprefix('*')!r}"
    if node.op == "get_attr":
        return f"the parameter or buffer {node.target!r}"
    return info.name if info is not None else str(node)


def _in_order(graph: fx.Graph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
    """The inputs as an interpreter takes them: all by position."""
    names = [str(node.target) for node in graph.nodes if node.op == "placeholder"]
    yield from args
    yield from (kwargs[name] for name in names[len(args) :] if name in kwargs)
