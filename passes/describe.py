"""Describes nodes that passes insert, for the passes that follow."""

from typing import Any

from torch import fx

from fxbin.graph.node_info import NodeInfo, set_node_info
from fxbin.graph.record import set_spec


def describe(node: fx.Node, spec: Any, info: NodeInfo) -> None:
    """Attach to `node` the shape and dtype of its output, `spec`, and its names, `info`."""
    set_spec(node, spec)
    set_node_info(node, info)
