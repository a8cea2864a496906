"""Makes a packed convolution hand bits to the next one, instead of floats or in addition to them."""

import operator

import torch
from torch import fx

from fxbin.deployment.graph_facts import called, nodes_between, only_reads, packed_at, packed_nodes
from fxbin.deployment.packed_conv2d import PackedConv2d


def hand_on_bits(module: fx.GraphModule) -> None:
    """Hand on bits between packed convolutions in the graph of `module`, in place.

        before:  x -> packed.a -> y -> packed.b      after:  x -> packed.a -> bits -> packed.b

    If something else also reads y, packed.a returns both. Only one of several readers gets bits, because each
    has its own thresholds.
    """
    for node in packed_nodes(module):
        reader = _first_reader(module, node)
        if reader is not None:
            _hand_on(module, node, reader)


def _first_reader(module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """Return the first packed convolution with the output of `node` as input, if it can be given as bits."""
    if packed_at(module, node).thresholds.dtype != torch.float32:  # the dtype of its input and its output
        return None
    for user in node.users:
        if user.args[:1] == (node,) and isinstance(called(module, user), PackedConv2d):
            between = nodes_between(node, user)
            return user if all(only_reads(module, each) for each in between) else None
    return None


def _hand_on(module: fx.GraphModule, node: fx.Node, reader: fx.Node) -> None:
    packed, next_packed = packed_at(module, node), packed_at(module, reader)
    packed.y_thresholds, next_packed.takes_bits = next_packed.thresholds.clone(), True
    others = [user for user in node.users if user is not reader or node in user.args[1:]]
    if not others:
        packed.output = "bits"
        return
    packed.output = "both"
    floats, bits = _output(node, 0, "floats"), _output(node, 1, "bits")
    node.replace_all_uses_with(floats, delete_user_cb=lambda user: user not in (floats, bits))
    reader.args = (bits, *reader.args[1:])


def _output(node: fx.Node, index: int, name: str) -> fx.Node:
    with node.graph.inserting_after(node):
        return node.graph.create_node(
            "call_function", operator.getitem, (node, index), name=f"{node.name}_{name}"
        )
