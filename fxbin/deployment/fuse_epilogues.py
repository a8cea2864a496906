"""BatchNorm, a sum and an activation behind a packed convolution become part of it."""

import operator
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxbin import torch_private
from fxbin.deployment.packed_conv2d import PackedConv2d
from fxbin.graph.attribute import submodule_at
from fxbin.lowering.use import writes

RELU_FUNCTIONS: tuple[Any, ...] = (F.relu, torch.relu, torch.relu_, F.relu_)
RELU_METHODS = ("relu", "relu_")
OF_TORCH = ("torch", "_operator")
SUM_FUNCTIONS: tuple[Any, ...] = (operator.add, operator.iadd, torch.add)


def fuse_epilogues(module: fx.GraphModule, inputs: Sequence[Any]) -> None:
    """Rewrite the graph of `module`, which is in eval mode, in place. `inputs` are example values.

        before:  x -> packed convolution -> BatchNorm2d -> + y -> ReLU or PReLU
        after:   x, y -> packed convolution

    Each of the three only where nothing else reads what is in front of it: nobody sees whether it happens
    in place.
    """
    found = [node for node in module.graph.nodes if isinstance(_called(module, node), PackedConv2d)]
    for node in found:
        packed, norm = _packed(module, node), _only_user(node)
        if norm is not None and _fold_batch_norm(packed, _called(module, norm)):
            _skip(module, norm, node)
        _fuse_activation_behind(module, node)
    shapes = _Shapes(module)
    shapes.run(*inputs)
    # From the end: of two convolutions that are summed, the later one takes the other's output.
    for node in reversed(found):
        if _packed(module, node).activation == "none" and _fuse_sum(module, node, shapes.found):
            _fuse_activation_behind(module, node)


class _Shapes(fx.Interpreter):
    """Notes the shape and dtype of every tensor of a run."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[fx.Node, tuple[torch.Size, torch.dtype]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.found[n] = result.shape, result.dtype
        return result


def _called(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return submodule_at(module, str(node.target)) if node.op == "call_module" else None


def _only_user(node: fx.Node) -> fx.Node | None:
    """The node that reads `node`, as its first and only tensor, if there is no other."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    return user if user.args[:1] == (node,) and user.all_input_nodes == [node] else None


def _packed(module: fx.GraphModule, node: fx.Node) -> PackedConv2d:
    found = _called(module, node)
    assert isinstance(found, PackedConv2d)
    return found


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


def _fuse_sum(
    module: fx.GraphModule, node: fx.Node, shapes: dict[fx.Node, tuple[torch.Size, torch.dtype]]
) -> bool:
    """Let the packed convolution `node` add what is added to its output; whether that is possible."""
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
        return False  # it is also what is written to
    between = list(takewhile(lambda each: each is not total, _behind(node)))
    if not all(_only_reads(module, each) for each in between):
        return False
    total.prepend(node)  # the convolution runs later now: nothing on the way may write to its input
    _skip(module, total, node)
    node.args = (*node.args, other)
    return True


def _behind(node: fx.Node) -> list[fx.Node]:
    """The nodes that run after `node`, in order."""
    nodes = list(node.graph.nodes)
    return nodes[nodes.index(node) + 1 :]


def _only_reads(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` is certain to leave its operands as they are."""
    if node.op == "call_module":
        called = _called(module, node)
        is_known = type(called).__module__.startswith(("torch.nn.modules", PackedConv2d.__module__))
        return is_known and not getattr(called, "inplace", False) and _runs_alone(called)
    if writes(node) or node.kwargs.get("inplace", False):
        return False
    if node.op != "call_function":
        return True
    is_of_torch = (getattr(node.target, "__module__", None) or "torch").startswith(OF_TORCH)
    return is_of_torch and not any(arg is True for arg in node.args)  # as in F.relu(x, True)


def _fuse_activation_behind(module: fx.GraphModule, node: fx.Node) -> None:
    activation = _only_user(node)
    if activation is not None and _fuse_activation(_packed(module, node), module, activation):
        _skip(module, activation, node)


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


def _runs_alone(module: nn.Module | None) -> bool:
    """Whether no hook sees what `module` computes."""
    return module is not None and not any(torch_private.forward_hooks(module))
