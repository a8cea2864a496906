"""BatchNorm and activation behind a packed convolution become part of it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxbin.deployment.packed_conv2d import PackedConv2d
from fxbin.graph.attribute import submodule_at

RELU_FUNCTIONS: tuple[Any, ...] = (F.relu, torch.relu, torch.relu_, F.relu_)
RELU_METHODS = ("relu", "relu_")


def fuse_epilogues(module: fx.GraphModule) -> None:
    """Rewrite the graph of `module`, which is in eval mode, in place.

        before:  x -> packed convolution -> BatchNorm2d -> ReLU or PReLU
        after:   x -> packed convolution

    Only where nothing else reads what is in between. Then an activation in place is one on a copy, too.
    """
    for node in list(module.graph.nodes):
        packed = _called(module, node)
        if not isinstance(packed, PackedConv2d):
            continue
        norm = _only_user(node)
        if norm is not None and _fold_batch_norm(packed, _called(module, norm)):
            _skip(module, norm, node)
        activation = _only_user(node)
        if activation is not None and _fuse_activation(packed, module, activation):
            _skip(module, activation, node)


def _called(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return submodule_at(module, str(node.target)) if node.op == "call_module" else None


def _only_user(node: fx.Node) -> fx.Node | None:
    """The node that reads `node`, as its first and only tensor, if there is no other."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    return user if user.args[:1] == (node,) and user.all_input_nodes == [node] else None


def _skip(module: fx.GraphModule, node: fx.Node, source: fx.Node) -> None:
    node.replace_all_uses_with(source)
    module.graph.erase_node(node)


def _fold_batch_norm(packed: PackedConv2d, norm: nn.Module | None) -> bool:
    """Scale the levels of `packed` as `norm` scales its output; whether that is possible."""
    if type(norm) is not nn.BatchNorm2d or not _runs_alone(norm):
        return False
    if norm.training or norm.running_mean is None or norm.running_var is None:
        return False
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale *= norm.weight.double()
    bias = -norm.running_mean.double() if packed.bias is None else packed.bias - norm.running_mean.double()
    bias *= scale
    if norm.bias is not None:
        bias += norm.bias.double()
    packed.w_levels = (packed.w_levels * scale).float()
    packed.bias = bias.float()
    return True


def _fuse_activation(packed: PackedConv2d, module: fx.GraphModule, node: fx.Node) -> bool:
    """Let `packed` compute the activation of `node`; whether it is one that it can."""
    called, target = _called(module, node), node.target
    is_function = node.op == "call_function" and target in RELU_FUNCTIONS
    is_method = node.op == "call_method" and target in RELU_METHODS
    if is_function or is_method or (type(called) is nn.ReLU and _runs_alone(called)):
        packed.activation = "relu"
        return True
    if type(called) is nn.PReLU and _runs_alone(called):
        packed.activation, packed.slope = "prelu", _slopes(called.weight, packed)
        return True
    return False


def _slopes(weight: Tensor, packed: PackedConv2d) -> Tensor:
    return weight.detach().float().expand(len(packed.weight_bits)).clone()


def _runs_alone(module: nn.Module) -> bool:
    """Whether no hook sees what `module` computes."""
    return not (module._forward_hooks or module._forward_pre_hooks)
