"""What is known about each node of a graph, and the only way to it: it is kept in ``node.meta``."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from torch import fx

_INFO, _PADDING = "fxbin", "inlined_padding"


@dataclass(frozen=True)
class Decision:
    """Whether a conv2d call site is binarized, and why not."""

    binarized: bool

    reason: str
    """Why it stays in full precision; empty if it does not."""

    activation: str = ""
    """Qualified name of its activation binarizer: ``"layer1.0.conv1.activation_binarizer"``."""

    weight: str = ""
    """Qualified name of its weight binarizer: ``"layer1.0.conv1.weight_binarizer"``."""


@dataclass(frozen=True)
class NodeInfo:
    """One node, in the terms of the model it was traced from."""

    name: str
    """Hierarchical name: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    names: tuple[str, ...]
    """Names of all operators in the node that NNCF names, in execution order."""

    op: str
    """The operator as the code spelled it: ``"conv2d"``."""

    scope: str
    """The module it runs in: ``"ResNet/NNCFConv2d[conv1]"``."""

    owner: str
    """Qualified name of that module: ``"conv1"``; empty for the root."""

    index: int
    """Counter of the operator in its scope."""

    nncf_binarizes: bool
    """Whether NNCF would binarize it: a conv2d of an exact `nn.Conv2d` that runs in eval mode."""

    name_in_part: str = ""
    """For a conv2d in a model with islands: its name in the graph that runs it, whichever call it is."""

    why_unreachable: str = ""
    """For a conv2d that no graph runs: why."""

    decision: Decision | None = None
    """For a conv2d: what becomes of it."""

    def beside(self, op: str) -> "NodeInfo":
        """For a node that a pass puts next to this one, in the same scope."""
        name = f"{self.scope}/{op}_{self.index}"
        return replace(self, name=name, names=(), op=op, nncf_binarizes=False, name_in_part="", decision=None)


def node_info(node: fx.Node) -> NodeInfo | None:
    """What is known about `node`; None before it is named."""
    return cast("NodeInfo | None", node.meta.get(_INFO))


def set_node_info(node: fx.Node, info: NodeInfo) -> None:
    """Replace what is known about `node`."""
    node.meta[_INFO] = info


def set_decision(node: fx.Node, decision: Decision) -> None:
    """Note what becomes of the conv2d in `node`."""
    info = node_info(node)
    assert info is not None
    set_node_info(node, replace(info, decision=decision))


def node_decision(node: fx.Node) -> Decision | None:
    """What becomes of the conv2d in `node`; None for other nodes."""
    info = node_info(node)
    return None if info is None else info.decision


def node_name(node: fx.Node) -> str:
    """Hierarchical name of `node`; the one that it has in its graph where it has not been named."""
    info = node_info(node)
    return node.name if info is None else info.name


def operator_names(graphs: Iterable[fx.Graph]) -> list[str]:
    """Names of all operators in `graphs` that NNCF names, in execution order."""
    infos = (node_info(node) for graph in graphs for node in graph.nodes)
    return [name for info in infos if info is not None for name in info.names]


def mark_inlined_padding(node: fx.Node) -> None:
    """Note that `node` pads what a conv2d module padded by itself."""
    node.meta[_PADDING] = True


def is_inlined_padding(node: fx.Node) -> bool:
    """Whether `node` pads what a conv2d module padded by itself."""
    return _PADDING in node.meta
