"""The cost of layers with weights: their multiply-accumulates (MACs) and their weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, fx, nn
from torch.fx import GraphModule

from fxbin import torch_private
from fxbin.graph.attribute import attribute
from fxbin.graph.call_site import argument, call_sites, in_front_of_binarizer, is_call_site
from fxbin.graph.node_info import node_info
from fxbin.graph.tensor_spec import tensor_spec
from fxbin.tracing import TensorSpec

WEIGHTED_OPS = frozenset(
    {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"}
)
"""Operators whose MACs are counted. Products of two activations (attention) are not."""


@dataclass(frozen=True)
class LayerWeight:
    """The weight of one call of a convolution or linear layer."""

    name: str
    """Qualified name of the parameter, the first if it has several; empty if the weight is computed."""

    shape: tuple[int, ...]
    """Shape of the weight: ``(out, in / groups, kh, kw)`` for conv2d."""

    element_bits: int
    """Bits per element, by its dtype."""

    tensor: Tensor | None
    """The parameter; None if the weight is computed."""


def is_weighted(node: fx.Node) -> bool:
    """Whether `node` is a call of a convolution or of a linear layer."""
    info = node_info(node)
    return is_call_site(node) or (info is not None and info.op in WEIGHTED_OPS - {"conv2d"})


def input_spec(module: GraphModule, node: fx.Node) -> TensorSpec | None:
    """Shape and dtype of the activations that the layer in `node` takes; None if they are unknown."""
    return tensor_spec(module, argument(node, 0, "input"))


def parameter_names(module: nn.Module) -> dict[Tensor, str]:
    """The qualified name of each parameter of `module`, the first if it has several."""
    return {parameter: name for name, parameter in module.named_parameters()}


def layer_weight(module: GraphModule, node: fx.Node, names: Mapping[Tensor, str]) -> LayerWeight | None:
    """The weight of the layer in `node`; None inside a module that is kept whole, or if it is unknown.

    `names` are the `parameter_names` of `module`.
    """
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        if not isinstance(layer, (torch_private.ConvNd, nn.Linear)):
            return None
        return _of_tensor(layer.weight, f"{node.target}.weight", names)
    source = argument(node, 1, "weight")
    if not isinstance(source, fx.Node):
        return None
    source = in_front_of_binarizer(module, source)
    if source.op == "get_attr":
        return _of_tensor(attribute(module, str(source.target)), str(source.target), names)
    spec = tensor_spec(module, source)
    return None if spec is None else LayerWeight("", spec.shape, spec.dtype.itemsize * 8, None)


def macs(module: GraphModule, node: fx.Node, weight: LayerWeight | None) -> int | None:
    """Multiply-accumulates of one forward through the layer in `node`, without the bias.

    Each output element of a convolution ``(out, in/groups, kh, kw)`` costs ``in/groups * kh * kw``, that of a
    linear layer ``(out, in)`` costs ``in``; each *input* element of a transposed convolution
    ``(in, out/groups, kh, kw)`` costs ``out/groups * kh * kw``. None if shapes are unknown.
    """
    info = node_info(node)
    assert info is not None
    counted = input_spec(module, node) if "transpose" in info.op else tensor_spec(module, node)
    if weight is None or counted is None:
        return None
    return math.prod(counted.shape) * math.prod(weight.shape[1:])


def batch_size(module: GraphModule, graph: fx.Graph) -> int:
    """Number of examples that `graph` was traced with: the first dimension of its first tensor input.

    1 if its first convolution takes ``(c, h, w)``, as then there is no batch.
    """
    seen = (input_spec(module, site.node) for site in call_sites(module, graph))
    first = next((spec for spec in seen if spec), None)
    if first is not None and len(first.shape) == 3:
        return 1
    inputs = (tensor_spec(module, node) for node in graph.nodes if node.op == "placeholder")
    shapes = [spec.shape for spec in inputs if spec and len(spec.shape) > 1]
    # Detection models take a list of images and make a batch of them: the first convolution shows its size.
    shapes += [first.shape] if first is not None else []
    return max(shapes[0][0], 1) if shapes else 1


def _of_tensor(weight: Tensor, path: str, names: Mapping[Tensor, str]) -> LayerWeight:
    """`weight` under its parameter name, or under `path` if it is not a parameter."""
    return LayerWeight(names.get(weight, path), tuple(weight.shape), weight.element_size() * 8, weight)
