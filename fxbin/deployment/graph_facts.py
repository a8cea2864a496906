"""What passes ask about the graph of a model that is being deployed."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxbin.deployment.packed_conv2d import PackedConv2d
from fxbin.graph.attribute import submodule_at
from fxbin.lowering.use import writes
from fxbin.original.plain_code import is_plain

OF_TORCH = ("torch", "_operator")
RELU_FUNCTIONS: tuple[Any, ...] = (F.relu, torch.relu, torch.relu_, F.relu_)
RELU_METHODS = ("relu", "relu_")

Shapes = dict[fx.Node, tuple[torch.Size, torch.dtype]]
"""Shape and dtype of the tensors of a run, by node."""


def shapes_of(module: fx.GraphModule, inputs: Sequence[Any]) -> Shapes:
    """Those of a run on `inputs`."""
    run = _Run(module)
    run.run(*inputs)
    return run.found


class _Run(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: Shapes = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.found[n] = result.shape, result.dtype
        return result


def called(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that `node` calls, if it calls one."""
    return submodule_at(module, str(node.target)) if node.op == "call_module" else None


def packed_nodes(module: fx.GraphModule) -> list[fx.Node]:
    """The calls of packed convolutions, in order."""
    return [node for node in module.graph.nodes if isinstance(called(module, node), PackedConv2d)]


def packed_at(module: fx.GraphModule, node: fx.Node) -> PackedConv2d:
    """The packed convolution that `node` calls."""
    found = called(module, node)
    assert isinstance(found, PackedConv2d)
    return found


def only_user(node: fx.Node) -> fx.Node | None:
    """The node that reads `node`, as its first and only tensor, if there is no other."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    return user if user.args[:1] == (node,) and user.all_input_nodes == [node] else None


def is_relu(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` computes ReLU, in place or not, and no hook sees it."""
    if node.op == "call_module":
        return calls_plain(module, node, nn.ReLU)
    names = {"call_function": RELU_FUNCTIONS, "call_method": RELU_METHODS}
    return node.target in names.get(node.op, ())


def nodes_between(first: fx.Node, last: fx.Node) -> list[fx.Node]:
    """The nodes that run after `first` and before `last`, in order."""
    nodes = list(first.graph.nodes)
    return list(takewhile(lambda each: each is not last, nodes[nodes.index(first) + 1 :]))


def only_reads(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` is certain to leave its operands as they are."""
    if node.op == "call_module":
        layer = called(module, node)
        is_known = type(layer).__module__.startswith(("torch.nn.modules", PackedConv2d.__module__))
        return is_known and not getattr(layer, "inplace", False) and _runs_only_known_code(layer)
    if writes(node) or node.kwargs.get("inplace", False):
        return False
    if node.op != "call_function":
        return True
    is_of_torch = (getattr(node.target, "__module__", None) or "torch").startswith(OF_TORCH)
    return is_of_torch and not any(arg is True for arg in node.args)  # as in F.relu(x, True)


def calls_plain(module: fx.GraphModule, node: fx.Node, *kinds: type[nn.Module]) -> bool:
    """Whether `node` calls a layer of exactly one of `kinds`, which runs the code of its class alone."""
    layer = called(module, node)
    return type(layer) in kinds and is_plain(layer, *kinds)


def _runs_only_known_code(layer: nn.Module | None) -> bool:
    """Whether `layer`, and each layer in it, runs the code of its class alone."""
    return layer is not None and all(is_plain(part, type(part)) for part in layer.modules())
