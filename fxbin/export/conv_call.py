"""The conv2d call sites of a binarized graph, as the export sees them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import fx

from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.graph.call_site import CONV2D_FUNCTIONS
from fxbin.graph.node_info import node_info

CONV2D_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
CONV2D_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}


@dataclass(frozen=True)
class ConvCall:
    """One call of ``conv2d`` with a binarizer in front of its input, of its weight, or of both."""

    node: fx.Node
    arguments: dict[str, Any]
    """All seven arguments of ``conv2d`` by name, defaults filled in."""

    activation: ActivationBinarizer | None
    """None where the input does not come straight from one."""

    weight: WeightBinarizer | None

    @property
    def name(self) -> str:
        """Hierarchical name of the call site; the name of the node where it has none."""
        return node_name(self.node)

    @property
    def binarizer_nodes(self) -> tuple[fx.Node, ...]:
        """The nodes that call the binarizers: activation first, then weight."""
        nodes = (self.arguments["input"], self.arguments["weight"])
        return tuple(
            node
            for node, module in zip(nodes, (self.activation, self.weight), strict=True)
            if module is not None
        )


def conv_calls(module: fx.GraphModule) -> Iterator[ConvCall]:
    """Yield the binarized conv2d call sites of `module` in execution order."""
    for node in module.graph.nodes:
        if node.op != "call_function" or node.target not in CONV2D_FUNCTIONS:
            continue
        arguments = CONV2D_DEFAULTS | dict(zip(CONV2D_ARGUMENTS, node.args, strict=False)) | node.kwargs
        activation = called_binarizer(module, arguments["input"])
        weight = called_binarizer(module, arguments["weight"])
        if activation is not None or weight is not None:
            yield ConvCall(
                node,
                arguments,
                activation if isinstance(activation, ActivationBinarizer) else None,
                weight if isinstance(weight, WeightBinarizer) else None,
            )


def node_name(node: fx.Node) -> str:
    """Hierarchical name of `node`; the one it has in its graph where nothing else is known."""
    info = node_info(node)
    return node.name if info is None else info.name


def called_binarizer(module: fx.GraphModule, node: Any) -> Binarizer | None:
    """Return the binarizer that `node` calls, None if it does anything else."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    called = module.get_submodule(str(node.target))
    return called if isinstance(called, Binarizer) else None
