"""Shapes and dtypes of nodes, including nodes that passes have added."""

import operator
from typing import Any

from torch import Tensor, fx, nn

from fxbin.graph.attribute import attribute
from fxbin.graph.call_site import called_binarizer
from fxbin.graph.record import TensorSpec, spec_of


def value_spec(module: nn.Module, node: fx.Node) -> Any:
    """The value of `node` for the example inputs, with a `TensorSpec` in place of each tensor."""
    spec = spec_of(node)
    if spec is not None:
        return spec
    if node.op == "get_attr":
        value = attribute(module, str(node.target))
        return TensorSpec(tuple(value.shape), value.dtype) if isinstance(value, Tensor) else None
    if called_binarizer(module, node) is not None:
        return value_spec(module, node.all_input_nodes[0])
    if is_part(module, node):
        whole, key = node.args
        assert isinstance(whole, fx.Node)
        return _part(value_spec(module, whole), key)
    return None


def tensor_spec(module: nn.Module, node: object) -> TensorSpec | None:
    """Shape and dtype of the tensor that `node` computes; None if it is not a tensor, or not known."""
    spec = value_spec(module, node) if isinstance(node, fx.Node) else None
    return spec if isinstance(spec, TensorSpec) else None


def is_part(module: nn.Module, node: fx.Node) -> bool:
    """Whether `node` gets an item of a tuple, list or dict, rather than indexing a tensor."""
    return node.target is operator.getitem and not isinstance(
        value_spec(module, node.all_input_nodes[0]), TensorSpec
    )


def _part(whole: Any, key: Any) -> Any:
    try:
        return whole[key]
    except (LookupError, TypeError):
        return None
