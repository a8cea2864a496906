"""Fuses a sum and an activation after a packed convolution into it."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from fxbin.deployment.graph_facts import (
    Shapes,
    called,
    calls_plain,
    limiting_activation,
    nodes_between,
    only_reads,
    only_user,
    packed_at,
    packed_nodes,
    shapes_of,
)
from fxbin.deployment.origin import set_origin
from fxbin.deployment.packed_conv2d import PackedConv2d

SUM_FUNCTIONS: tuple[Any, ...] = (operator.add, operator.iadd, torch.add)


def fuse_epilogues(module: fx.GraphModule, inputs: Sequence[Any]) -> None:
    """Fuse sums and activations in the graph of `module`, which is in eval mode, in place.

        before:  x -> packed convolution -> + y -> ReLU, ReLU6, Hardtanh or PReLU
        after:   x, y -> packed convolution

    A sum or an activation is only fused if nothing else reads the output of the convolution before it, so
    that nobody sees whether it works in place. `inputs` are example values.
    """
    found = packed_nodes(module)
    for node in found:
        _fuse_activation_after(module, node)
    shapes = shapes_of(module, inputs)
    # In reverse order: of two convolutions that are summed, the later one adds the output of the other.
    for node in reversed(found):
        if packed_at(module, node).activation == "none" and _fuse_sum(module, node, shapes):
            _fuse_activation_after(module, node)


def _skip(module: fx.GraphModule, node: fx.Node, source: fx.Node) -> None:
    set_origin(source, node)
    node.replace_all_uses_with(source)
    module.graph.erase_node(node)


def _fuse_sum(module: fx.GraphModule, node: fx.Node, shapes: Shapes) -> bool:
    """Let the packed convolution `node` compute the sum that follows; return whether that was possible."""
    if len(node.users) != 1:
        return False
    (total,) = node.users
    if (
        total.op != "call_function"
        or total.target not in SUM_FUNCTIONS
        or total.kwargs
        or len(total.args) != 2
    ):
        return False
    other = total.args[1] if total.args[0] is node else total.args[0]
    if not isinstance(other, fx.Node) or other is node:
        return False
    if shapes.get(other) != shapes[node] or shapes.get(total) != shapes[node]:
        return False
    if total.target is operator.iadd and total.args[0] is other:
        return False  # the other summand is also written to
    if not all(only_reads(module, each) for each in nodes_between(node, total)):
        return False
    total.prepend(node)  # the convolution runs later now: nothing on the way may write to its input
    _skip(module, total, node)
    node.args = (*node.args, other)
    return True


def _fuse_activation_after(module: fx.GraphModule, node: fx.Node) -> None:
    activation = only_user(node)
    if activation is not None and _fuse_activation(packed_at(module, node), module, activation):
        _skip(module, activation, node)


def _fuse_activation(packed: PackedConv2d, module: fx.GraphModule, node: fx.Node) -> bool:
    """Let `packed` compute the activation of `node`; return whether it can compute that."""
    found = limiting_activation(module, node)
    if found is not None:
        packed.activation = found
        return True
    layer = called(module, node)
    if isinstance(layer, nn.PReLU) and calls_plain(module, node, nn.PReLU):
        packed.activation, packed.slope = "prelu", _slopes(layer.weight, packed)
        return True
    return False


def _slopes(weight: Tensor, packed: PackedConv2d) -> Tensor:
    return weight.detach().float().expand(len(packed.weight_bits)).clone()
