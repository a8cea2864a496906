"""Average pooling, as rewrites insert it where the resolution falls."""

import torch.nn.functional as F
from torch import fx

from fxbin.graph.data_flow import spec
from fxbin.graph.node_info import NodeInfo
from fxbin.graph.record import TensorSpec
from fxbin.passes.describe import describe


def average_pool(
    graph: fx.Graph, x: fx.Node, stride: tuple[int, int], info: NodeInfo, *, ceil: bool
) -> fx.Node:
    """Insert average pooling of `x`, whose size is its stride, and return its node.

    With `ceil`, windows beyond the edge count what is in the picture, as convolutions that round up read it.
    """
    before = spec(x)
    assert before is not None
    pooled = graph.create_node(
        "call_function",
        F.avg_pool2d,
        (x, stride, stride),
        {"ceil_mode": ceil, "count_include_pad": False},
    )
    up = [s - 1 if ceil else 0 for s in stride]
    size = [(n + r) // s for n, r, s in zip(before.shape[-2:], up, stride, strict=True)]
    describe(pooled, TensorSpec((*before.shape[:-2], *size), before.dtype), info)
    return pooled
