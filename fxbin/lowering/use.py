"""Tells which nodes of a graph the result depends on."""

import operator
from typing import Any

from torch import fx

ASSIGNMENTS: tuple[Any, ...] = (
    operator.setitem, operator.iadd, operator.isub, operator.imul, operator.itruediv,
)  # fmt: skip


def is_used(node: fx.Node) -> bool:
    """Whether the result of the graph may depend on `node`, through operands or writes into other values.

    Nodes that are not used are not in an exported file.
    """
    seen = {node}
    waiting = [node]
    while waiting:
        for user in waiting.pop().users:
            if user in seen:
                continue
            if user.op == "output" or (writes(user) and user.all_input_nodes[0] not in seen):
                return True
            seen.add(user)
            waiting.append(user)
    return False


def writes(node: fx.Node) -> bool:
    """Whether `node` may write into its first operand, or into an ``out`` argument."""
    if "out" in node.kwargs or node.target in ASSIGNMENTS:
        return True
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return str(name).endswith("_") and not str(name).endswith("__")
