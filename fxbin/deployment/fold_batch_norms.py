"""Folds a BatchNorm after a convolution into the weight and bias of the convolution."""

import copy
from collections.abc import Collection

import torch
from torch import Tensor, fx, nn

from fxbin.deployment.graph_facts import called, calls_plain, is_called_once, layers_read_by_code, only_user
from fxbin.deployment.origin import set_origin
from fxbin.deployment.packed_conv2d import PackedConv2d


def fold_batch_norms(module: fx.GraphModule) -> None:
    """Fold BatchNorms in the graph of `module`, which is in eval mode, in place.

        before:  x -> convolution -> BatchNorm2d
        after:   x -> convolution, whose filters are scaled as BatchNorm2d scales their outputs

    The convolution is a packed one or an `nn.Conv2d` in float32 or float64 that is called once, and whose
    weight and bias nothing else reads.
    """
    read_by_code = layers_read_by_code(module)
    for node in module.graph.find_nodes(op="call_module", sort=True):
        norm_node = only_user(node)
        if norm_node is None or not _is_constant(module, norm_node):
            continue
        norm = called(module, norm_node)
        if _folds_into_packed(module, node, norm) or _folds_into_float(module, node, norm, read_by_code):
            set_origin(node, norm_node)
            norm_node.replace_all_uses_with(node)
            module.graph.erase_node(norm_node)


def _is_constant(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` calls a BatchNorm2d that scales every image alike, by its running statistics."""
    norm = called(module, node)
    if not (isinstance(norm, nn.BatchNorm2d) and calls_plain(module, node, nn.BatchNorm2d)):
        return False
    return not norm.training and norm.running_mean is not None and norm.running_var is not None


def _scale_and_shift(norm: nn.Module | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what `norm` multiplies each channel by, and the bias that replaces `bias`, both in float64."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale *= norm.weight.double()
    shift = -norm.running_mean.double() if bias is None else bias - norm.running_mean.double()
    shift *= scale
    if norm.bias is not None:
        shift += norm.bias.double()
    return scale, shift


def _folds_into_packed(module: fx.GraphModule, node: fx.Node, norm: nn.Module | None) -> bool:
    packed = called(module, node)
    if not isinstance(packed, PackedConv2d):
        return False
    scale, shift = _scale_and_shift(norm, packed.bias)
    packed.w_levels = (packed.w_levels * scale).float()
    packed.bias = shift.float()
    return True


def _folds_into_float(
    module: fx.GraphModule, node: fx.Node, norm: nn.Module | None, read_by_code: Collection[nn.Module]
) -> bool:
    conv = called(module, node)
    if not (isinstance(conv, nn.Conv2d) and calls_plain(module, node, nn.Conv2d)):
        return False
    if conv in read_by_code or not is_called_once(module, conv):
        return False
    if conv.weight.dtype not in (torch.float32, torch.float64):
        return False
    scale, shift = _scale_and_shift(norm, conv.bias)
    dtype, folded = conv.weight.dtype, copy.deepcopy(conv)
    folded.weight = nn.Parameter((conv.weight * scale.view(-1, 1, 1, 1)).to(dtype))
    folded.bias = nn.Parameter(shift.to(dtype))
    module.set_submodule(str(node.target), folded)
    return True
