"""Tells which nodes add or subtract two tensors, as at the end of a residual block."""

import operator
from typing import Any

import torch
from torch import fx

from fxbin.graph.record import TensorSpec, spec_of

_ADDITIONS: dict[str, tuple[Any, ...]] = {
    "call_function": (operator.add, operator.iadd, torch.add),
    "call_method": ("add", "add_"),
}
_DIFFERENCES: dict[str, tuple[Any, ...]] = {
    "call_function": (operator.sub, operator.isub, torch.sub, torch.subtract, torch.rsub),
    "call_method": ("sub", "sub_", "subtract", "subtract_"),
}
_ARGUMENTS = ("input", "other", "alpha")


def is_sum(node: fx.Node) -> bool:
    """Whether `node` adds or subtracts two tensors of the shape that the result has, one maybe with a factor.

    A product that is added is a node of its own: this is about ``torch.add(y, x, alpha=0.5)``.
    """
    if node.target not in _ADDITIONS.get(node.op, ()) and not _is_difference(node):
        return False
    both = operands(node)
    if both is None or not node.kwargs.keys() <= {*_ARGUMENTS}:
        return False
    shapes = [_shape(each) for each in (node, *both)]
    return shapes[0] is not None and shapes[0] == shapes[1] == shapes[2]


def has_factor(node: fx.Node) -> bool:
    """Whether an operand of the sum `node` counts with another factor than 1, such as -1 in a difference."""
    alpha = _arguments(node).get("alpha", 1)
    return _is_difference(node) or isinstance(alpha, fx.Node) or alpha != 1


def operands(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The two nodes that `node` adds; None if one is a number, or if it is no sum."""
    given = _arguments(node)
    first, second = given.get("input"), given.get("other")
    return (first, second) if isinstance(first, fx.Node) and isinstance(second, fx.Node) else None


def _is_difference(node: fx.Node) -> bool:
    return node.target in _DIFFERENCES.get(node.op, ())


def _arguments(node: fx.Node) -> dict[str, Any]:
    return {**dict(zip(_ARGUMENTS, node.args, strict=False)), **node.kwargs}


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    spec = spec_of(node)
    return spec.shape if isinstance(spec, TensorSpec) else None
