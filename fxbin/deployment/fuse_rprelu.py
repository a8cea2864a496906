"""Fuses an RPReLU after a packed convolution into it, and into those that read it."""

import operator

import torch
from torch import Tensor, fx

from fxbin.added import RPReLU
from fxbin.deployment.graph_facts import (
    called,
    calls_plain,
    is_called_once,
    only_user,
    packed_at,
    packed_nodes,
)
from fxbin.deployment.origin import set_origin, set_shift
from fxbin.deployment.packed_conv2d import PackedConv2d


def fuse_rprelu(module: fx.GraphModule) -> None:
    """Fuse RPReLUs in the graph of `module`, which is in eval mode, in place.

        before:  x -> packed.a -> RPReLU -> packed.b (as input or as summand), others
        after:   x -> packed.a (PReLU) -> packed.b;  packed.a -> + zeta -> others

    y = PReLU(x - gamma) + zeta: gamma becomes part of the bias in front. A threshold t of a reader, which
    asks whether y > t, becomes t - zeta; where y is a summand, zeta becomes part of the bias.
    """
    for node in packed_nodes(module):
        layer_node = only_user(node)
        if layer_node is not None and calls_plain(module, layer_node, RPReLU):
            layer = called(module, layer_node)
            assert isinstance(layer, RPReLU)
            if _takes(module, node, layer):
                _fuse(module, node, layer_node, layer)


def _takes(module: fx.GraphModule, node: fx.Node, layer: RPReLU) -> bool:
    packed = packed_at(module, node)
    has_channels = len(packed.weight_bits) == len(layer.gamma)
    return packed.activation == "none" and has_channels and is_called_once(module, packed)


def _fuse(module: fx.GraphModule, node: fx.Node, layer_node: fx.Node, layer: RPReLU) -> None:
    packed, zeta = packed_at(module, node), layer.zeta.detach()
    packed.bias = _added(packed.bias, -layer.gamma.detach())
    packed.activation, packed.slope = "prelu", layer.beta.detach().float().clone()
    set_origin(node, layer_node)
    set_shift(node, zeta.clone())
    others = [user for user in layer_node.users if not _shift(module, user, layer_node, zeta)]
    if others:
        with module.graph.inserting_before(layer_node):
            shift = module.graph.create_node("get_attr", f"{layer_node.target}.zeta")
            shift = module.graph.call_method("view", (shift, -1, 1, 1))
            shifted = module.graph.call_function(operator.add, (node, shift))
        for user in others:
            user.replace_input_with(layer_node, shifted)
    layer_node.replace_all_uses_with(node)
    module.graph.erase_node(layer_node)


def _shift(module: fx.GraphModule, reader: fx.Node, y: fx.Node, zeta: Tensor) -> bool:
    """Let `reader`, if it is a packed convolution, read `y` without `zeta`; return whether it does."""
    packed = called(module, reader)
    if not isinstance(packed, PackedConv2d):
        return False
    x, residual = reader.args[0], reader.args[1] if len(reader.args) > 1 else None
    if not is_called_once(module, packed) or (residual is y and len(packed.weight_bits) != len(zeta)):
        return False
    if x is y:
        dtype = packed.thresholds.dtype
        packed.thresholds = (packed.thresholds.double() - zeta.double()).to(dtype)
    if residual is y:
        packed.bias = _added(packed.bias, zeta)
    return True


def _added(bias: Tensor | None, more: Tensor) -> Tensor:
    total = more.double() if bias is None else bias.double() + more.double()
    return total.to(torch.float32)
