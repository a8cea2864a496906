"""The graph of a transformed model as data: `fxbin.to_networkx`."""

from typing import Any, Literal

import networkx as nx
from torch import fx, nn

from fxbin import torch_private
from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.drawing.node_kind import NodeKind, kind_of
from fxbin.graph.node_info import node_info
from fxbin.graph.tensor_spec import tensor_spec

Mode = Literal["eval", "train"]


def to_networkx(model: nn.Module, *, graph: Mode = "eval") -> "nx.DiGraph[str]":
    """The operators of a transformed model and the tensors between them, as a NetworkX graph.

    The key of a node is its name in the fx graph; nodes are in execution order. Their attributes:

    * ``name``: hierarchical name, ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``; ``names``: the hierarchical names
      of all operators in the node that NNCF names
    * ``op``: the operator, ``"conv2d"``; ``target``: what the fx node calls
    * ``scope``, ``owner``: the module it runs in, ``"ResNet/NNCFConv2d[conv1]"`` and ``"conv1"``
    * ``kind``: one of `fxbin.drawing.node_kind.NodeKind`, as a string
    * ``shape``, ``dtype``: those of its output for the example inputs, ``(1, 64, 112, 112)`` and
      ``"float32"``; None if that is not a single tensor
    * ``reason``: why a conv2d stays in full precision, else empty

    Edges have the ``shape`` and ``dtype`` of the value that their source passes on.

    Args:
        model: the model that `fxbin.transform` returned.
        graph: ``"eval"`` or ``"train"``; the same graph if the model's code does the same in both modes.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ValueError: `graph` is something else, or ``"train"`` for a model that has no graph in train mode.
    """
    model = transformed(model, "to_networkx")
    if graph not in ("eval", "train"):
        raise ValueError(f'graph: expected "eval" or "train", got {graph!r}')
    shown = model.graph if graph == "eval" else model.graph_of_mode(training=True)
    if shown is None:
        raise ValueError(
            f'graph: {type(model).__name__} runs as plain Python in train mode, so its only graph is "eval"; '
            "`model.islands` says why"
        )
    found: nx.DiGraph[str] = nx.DiGraph(model=type(model).__name__, graph=graph)
    for node in shown.nodes:
        attributes = _attributes(model, node)
        found.add_node(node.name, **attributes)
        for source in node.all_input_nodes:
            flow = found.nodes[source.name]
            found.add_edge(source.name, node.name, shape=flow["shape"], dtype=flow["dtype"])
    return found


def _attributes(model: BinarizedModule, node: fx.Node) -> dict[str, Any]:
    info, kind = node_info(node), kind_of(model, node)
    assert info is not None
    spec = tensor_spec(model, node)
    full_precision = kind is NodeKind.FULL_PRECISION_CONV2D and info.decision is not None
    return {
        "name": info.name,
        "names": info.names,
        "op": info.op,
        "target": node.target
        if isinstance(node.target, str)
        else torch_private.target_name(node)(node.target),
        "scope": info.scope,
        "owner": info.owner,
        "kind": str(kind),
        "shape": spec.shape if spec else None,
        "dtype": str(spec.dtype).removeprefix("torch.") if spec else None,
        "reason": info.decision.reason if full_precision and info.decision else "",
    }
