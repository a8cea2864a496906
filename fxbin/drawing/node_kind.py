"""The kinds of nodes that drawings and dumps distinguish."""

from enum import StrEnum

from torch import fx
from torch.fx import GraphModule

from fxbin.binarizers import ActivationBinarizer, WeightBinarizer
from fxbin.graph.call_site import CallSite, called_binarizer, is_call_site
from fxbin.graph.tensor_spec import is_part, value_spec
from fxbin.tracing import TensorSpec


class NodeKind(StrEnum):
    """The kind of a node, as a drawing or dump shows it."""

    INPUT = "input"
    OUTPUT = "output"
    OPERATOR = "operator"
    ACTIVATION_BINARIZER = "activation_binarizer"
    WEIGHT_BINARIZER = "weight_binarizer"
    BINARIZED_CONV2D = "binarized_conv2d"
    FULL_PRECISION_CONV2D = "full_precision_conv2d"
    PARAMETER = "parameter"
    """A node that fetches a parameter, buffer or constant."""

    MODULE = "module"
    """A call of a module, drawn as one node."""

    VALUE = "value"
    """A node that computes no tensor: a size, another number, a part of a result, or a check."""


_FX_KINDS = {"placeholder": NodeKind.INPUT, "output": NodeKind.OUTPUT, "get_attr": NodeKind.PARAMETER}


def kind_of(module: GraphModule, node: fx.Node) -> NodeKind:
    """The kind of `node`, which belongs to a graph of `module`."""
    if node.op in _FX_KINDS:
        return _FX_KINDS[node.op]
    if is_call_site(node):
        is_binarized = CallSite(module, node).selected is not None
        return NodeKind.BINARIZED_CONV2D if is_binarized else NodeKind.FULL_PRECISION_CONV2D
    if node.op == "call_module":
        called = called_binarizer(module, node)
        if isinstance(called, ActivationBinarizer):
            return NodeKind.ACTIVATION_BINARIZER
        return NodeKind.WEIGHT_BINARIZER if isinstance(called, WeightBinarizer) else NodeKind.OPERATOR
    computes = not is_part(module, node) and _has_tensor(value_spec(module, node))
    return NodeKind.OPERATOR if computes else NodeKind.VALUE


def _has_tensor(spec: object) -> bool:
    """Whether `spec`, possibly nested in tuples and dicts, describes any tensor."""
    if isinstance(spec, dict):
        return any(map(_has_tensor, spec.values()))
    if isinstance(spec, tuple):
        return any(map(_has_tensor, spec))
    return isinstance(spec, TensorSpec)
