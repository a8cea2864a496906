"""Detects sums that OpenVINO would wrongly fuse with a binarizer into a 1-bit convolution."""

import operator
from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from fxbin.binarizers import ActivationBinarizer, Binarizer
from fxbin.graph.call_site import CONV2D_FUNCTIONS, called_binarizer
from fxbin.original.plain_code import is_plain

ADDITIONS: tuple[Any, ...] = (operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub)
ADDITION_METHODS = ("add", "add_", "sub", "sub_", "__add__", "__iadd__", "__radd__", "__sub__", "__rsub__")

SAFE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.PReLU,
    nn.Identity, nn.Dropout, nn.Dropout2d,
)  # fmt: skip
SAFE_FUNCTIONS: tuple[Any, ...] = (
    torch.relu, torch.relu_, F.relu, F.relu_, F.relu6, F.leaky_relu, F.hardswish, F.silu, F.gelu,
    torch.sigmoid, F.sigmoid, torch.tanh, F.tanh, F.prelu, F.dropout, F.dropout2d,
)  # fmt: skip
SAFE_METHODS = ("relu", "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_")

END_MODULES = (
    nn.Linear, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample,
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
END_FUNCTIONS: tuple[Any, ...] = (
    *CONV2D_FUNCTIONS, F.conv_transpose2d, F.linear, F.pad, F.interpolate, F.max_pool2d, F.avg_pool2d,
    F.adaptive_avg_pool2d, F.adaptive_max_pool2d, torch.flatten,
)  # fmt: skip
"""Operators that combine pixels or channels are not fused, so a chain does not continue before them."""


def ends_in_fused_sum(module: fx.GraphModule, x: fx.Node, varying: Collection[fx.Node]) -> bool:
    """Whether `x`, the input of an activation binarizer, is a sum followed by more than an activation.

        1-bit conv -> + other -> (ReLU) -> BatchNorm, or times or plus a constant -> binarizer

    OpenVINO 2026.4.1 fuses the whole chain into one BinaryConvolution with a 1-bit output, and reads the
    other summand as 1-bit as well. A sum followed only by an activation is not fused, and is correct. Any sum
    counts here, whatever computes its summands. The chain ends at a value with users other than binarizers,
    and at a convolution or a pooling. `varying` are the nodes that depend on the input of the model.
    """
    unsafe = False
    while all(isinstance(called_binarizer(module, user), ActivationBinarizer) for user in x.users) or (
        len(x.users) == 1
    ):
        sources = [source for source in x.all_input_nodes if source in varying]
        if len(sources) > 1:
            return unsafe and _is_addition(x)
        if not sources or _ends_chain(module, x):
            return False
        unsafe |= not _is_activation(module, x)
        x = sources[0]
    return False


def _is_addition(node: fx.Node) -> bool:
    return node.target in ADDITIONS or (node.op == "call_method" and node.target in ADDITION_METHODS)


def _ends_chain(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        return isinstance(called, Binarizer) or is_plain(called, *END_MODULES)
    return node.target in END_FUNCTIONS


def _is_activation(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return is_plain(module.get_submodule(str(node.target)), *SAFE_MODULES)
    return node.target in (SAFE_METHODS if node.op == "call_method" else SAFE_FUNCTIONS)
