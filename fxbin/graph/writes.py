"""Tells which nodes may write into their operands."""

import inspect
import operator
from typing import Any

from torch import fx, nn

from fxbin.graph.attribute import submodule_at

ASSIGNMENTS: tuple[Any, ...] = (
    operator.setitem, operator.iadd, operator.isub, operator.imul, operator.itruediv,
)  # fmt: skip


def writes(node: fx.Node) -> bool:
    """Whether `node` may write into its first operand, or into an ``out`` argument."""
    if "out" in node.kwargs or node.target in ASSIGNMENTS:
        return True
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return str(name).endswith("_") and not str(name).endswith("__")


def works_in_place(owner: nn.Module, node: fx.Node) -> bool:
    """Whether `node` may write into its first operand, also as a layer with ``inplace=True``."""
    if node.op == "call_module":
        return bool(getattr(submodule_at(owner, str(node.target)), "inplace", False))
    return writes(node) or (node.op == "call_function" and _is_asked(node))


def _is_asked(node: fx.Node) -> bool:
    """Whether the function that `node` calls gets ``inplace=True``."""
    try:
        given = inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # builtins have no signature, and no such argument
        return False
    return bool(given.arguments.get("inplace", False))
