"""Tells what nodes compute: a norm, an activation, nothing."""

import operator
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import fx, nn

from fxbin import torch_private
from fxbin.added import Hardtanh, RPReLU
from fxbin.graph.attribute import submodule_at
from fxbin.graph.writes import works_in_place

_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm,
)  # fmt: skip
_NORM_FUNCTIONS = (F.batch_norm, F.instance_norm, F.group_norm, F.layer_norm, torch.batch_norm)
_SCALINGS = (
    operator.add, operator.iadd, torch.add, operator.sub, torch.sub,
    operator.mul, operator.imul, torch.mul, operator.truediv, torch.div,
)  # fmt: skip

_IDLE = (nn.Identity,)
_DROPS = (*_IDLE, nn.Dropout, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_DROP_FUNCTIONS = (F.dropout, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)

_RELUS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU)
_RELU_FUNCTIONS = (F.relu, F.relu_, torch.relu, torch.relu_, F.relu6, F.leaky_relu, F.leaky_relu_)
_RELU_METHODS = ("relu", "relu_")
_ACTIVATIONS = (RPReLU, Hardtanh, nn.PReLU)
_ACTIVATION_MODULE = "torch.nn.modules.activation"
_ACTIVATION_FUNCTIONS = (
    *(F.silu, F.gelu, F.hardswish, F.hardtanh, F.elu, F.selu, F.celu, F.mish, F.prelu, F.softplus),
    *(F.sigmoid, torch.sigmoid, F.tanh, torch.tanh, F.hardsigmoid, F.softsign, F.logsigmoid),
)
_ACTIVATION_METHODS = ("sigmoid", "sigmoid_", "tanh", "tanh_")

_VIEWS = (
    *("getitem", "flatten", "unflatten", "reshape", "view", "view_as", "expand", "expand_as", "narrow"),
    *("transpose", "permute", "movedim", "swapaxes", "squeeze", "unsqueeze", "chunk", "split", "select"),
    *("unbind", "contiguous", "detach", "to", "type", "float", "half", "double", "bfloat16"),
)


def called(owner: nn.Module, node: fx.Node) -> nn.Module | None:
    """The module that `node` calls; None if it calls none."""
    return submodule_at(owner, str(node.target)) if node.op == "call_module" else None


def has_hooks(owner: nn.Module, node: fx.Node) -> bool:
    """Whether `node` calls a module with hooks, which a graph without the call would not run."""
    layer = called(owner, node)
    return layer is not None and any(torch_private.called_hooks(layer))


def is_norm(owner: nn.Module, node: fx.Node, is_constant: Callable[[fx.Node], bool]) -> bool:
    """Whether `node` normalizes, or scales or shifts by a constant tensor, like a frozen norm.

    `is_constant` tells of an operand whether it does not depend on the input of the graph.
    """
    if node.op == "call_module":
        return isinstance(called(owner, node), _NORMS)
    if node.target in _NORM_FUNCTIONS:
        return True
    operands = node.all_input_nodes
    return node.target in _SCALINGS and len(operands) == 2 and sum(map(is_constant, operands)) == 1


def is_relu(owner: nn.Module, node: fx.Node) -> bool:
    """Whether `node` computes ReLU, ReLU6 or LeakyReLU."""
    if node.op == "call_module":
        return type(called(owner, node)) in _RELUS
    return node.target in (_RELU_METHODS if node.op == "call_method" else _RELU_FUNCTIONS)


def is_activation(owner: nn.Module, node: fx.Node) -> bool:
    """Whether `node` computes an activation, element by element."""
    if is_relu(owner, node):
        return True
    layer = called(owner, node)
    if layer is not None:
        return isinstance(layer, _ACTIVATIONS) or type(layer).__module__ == _ACTIVATION_MODULE
    return node.target in (_ACTIVATION_METHODS if node.op == "call_method" else _ACTIVATION_FUNCTIONS)


def is_idle(owner: nn.Module, node: fx.Node) -> bool:
    """Whether `node` returns its operand."""
    return type(called(owner, node)) in _IDLE


def is_dropout(owner: nn.Module, node: fx.Node) -> bool:
    """Whether `node` returns its operand in eval mode."""
    return node.target in _DROP_FUNCTIONS or isinstance(called(owner, node), _DROPS)


def may_return_its_input(owner: nn.Module, node: fx.Node) -> bool:
    """Whether the result of `node` may be in the memory of its first operand."""
    if is_dropout(owner, node) or works_in_place(owner, node):
        return True
    if node.op == "call_module":
        return isinstance(called(owner, node), nn.Flatten | nn.Unflatten)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name in _VIEWS
