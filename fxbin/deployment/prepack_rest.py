"""Makes convolutions that stay in float32 arrange their weights only once."""

import torch
from torch import fx, nn

from fxbin.deployment.graph_facts import called, calls_plain
from fxbin.deployment.int8_layers import symmetric_padding
from fxbin.deployment.prepacked_conv2d import PrepackedConv2d


def prepack_rest(module: fx.GraphModule) -> None:
    """Replace float32 convolutions of `module`, which is in eval mode, in place.

        before:  x -> Conv2d
        after:   x -> PrepackedConv2d

    This applies to convolutions with one group and the same zero padding on opposite sides that run only the
    code of their class.
    """
    for node in module.graph.find_nodes(op="call_module"):
        conv = called(module, node)
        if not (isinstance(conv, nn.Conv2d) and calls_plain(module, node, nn.Conv2d)):
            continue
        padding = symmetric_padding(conv)
        if padding is not None and conv.groups == 1 and conv.weight.dtype == torch.float32:
            module.set_submodule(str(node.target), PrepackedConv2d(conv, padding))
