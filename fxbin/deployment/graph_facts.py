"""Facts about the graph of a model that is being deployed, for the passes that rewrite it."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxbin.added import Hardtanh
from fxbin.deployment.packed_conv2d import PackedConv2d
from fxbin.graph.attribute import submodule_at
from fxbin.graph.writes import writes
from fxbin.original.plain_code import is_plain

OF_TORCH = ("torch", "_operator")
RELU_FUNCTIONS: tuple[Any, ...] = (F.relu, torch.relu, torch.relu_, F.relu_)
RELU_METHODS = ("relu", "relu_")

Shapes = dict[fx.Node, tuple[torch.Size, torch.dtype]]
"""Shape and dtype of the output of each node, if it is a tensor."""


def shapes_of(module: fx.GraphModule, inputs: Sequence[Any]) -> Shapes:
    """Return the shape and dtype of the output of each node, from a run on `inputs`."""
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
    """Return the module that `node` calls; None if it does not call one."""
    return submodule_at(module, str(node.target)) if node.op == "call_module" else None


def layers_read_by_code(module: fx.GraphModule) -> set[nn.Module]:
    """The modules that the graph does not only call: code reads a parameter, or a module around them runs.

    What replaces such a layer for its calls would change what else reads it.
    """
    found: set[nn.Module] = set()
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.users:
            found.add(module.get_submodule(str(node.target).rpartition(".")[0]))
        elif (layer := called(module, node)) is not None:
            found.update(part for part in layer.modules() if part is not layer)
    return found


def packed_nodes(module: fx.GraphModule) -> list[fx.Node]:
    """Return the calls of packed convolutions, in execution order."""
    return [node for node in module.graph.nodes if isinstance(called(module, node), PackedConv2d)]


def packed_at(module: fx.GraphModule, node: fx.Node) -> PackedConv2d:
    """Return the packed convolution that `node` calls."""
    found = called(module, node)
    assert isinstance(found, PackedConv2d)
    return found


def is_called_once(module: fx.GraphModule, layer: nn.Module) -> bool:
    """Whether one node alone calls `layer`, so that it may change for that node."""
    return sum(called(module, node) is layer for node in module.graph.find_nodes(op="call_module")) == 1


def only_user(node: fx.Node) -> fx.Node | None:
    """Return the only user of `node`, if it reads `node` once, as its first argument, and no other node."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    return user if user.args[:1] == (node,) and user.all_input_nodes == [node] else None


def is_relu(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` computes ReLU, in place or not, without hooks."""
    if node.op == "call_module":
        return calls_plain(module, node, nn.ReLU)
    names = {"call_function": RELU_FUNCTIONS, "call_method": RELU_METHODS}
    return node.target in names.get(node.op, ())


def limiting_activation(module: fx.GraphModule, node: fx.Node) -> str | None:
    """Which of ReLU, ReLU6 and Hardtanh to [-1, 1] `node` computes, in place or not; None if none of them.

    None as well if it has hooks.
    """
    if is_relu(module, node):
        return "relu"
    if calls_plain(module, node, nn.ReLU6) or _calls_without_options(node, F.relu6):
        return "relu6"
    layer = called(module, node)
    if isinstance(layer, nn.Hardtanh):
        is_known = calls_plain(module, node, nn.Hardtanh) and (layer.min_val, layer.max_val) == (-1, 1)
    else:
        is_known = calls_plain(module, node, Hardtanh) or _calls_without_options(node, F.hardtanh)
    return "hardtanh" if is_known else None


def _calls_without_options(node: fx.Node, function: Callable[..., Tensor]) -> bool:
    """Whether `node` calls `function` with its operand and at most `inplace`."""
    return node.target is function and len(node.args) == 1 and node.kwargs.keys() <= {"inplace"}


def nodes_between(first: fx.Node, last: fx.Node) -> list[fx.Node]:
    """Return the nodes that run after `first` and before `last`, in order."""
    nodes = list(first.graph.nodes)
    return list(takewhile(lambda each: each is not last, nodes[nodes.index(first) + 1 :]))


def only_reads(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` certainly does not write to its operands."""
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
    """Whether `node` calls a layer whose class is one of `kinds`, and that runs only that class's code."""
    layer = called(module, node)
    return type(layer) in kinds and is_plain(layer, *kinds)


def _runs_only_known_code(layer: nn.Module | None) -> bool:
    """Whether `layer` and all layers in it run only the code of their classes."""
    return layer is not None and all(is_plain(part, type(part)) for part in layer.modules())
