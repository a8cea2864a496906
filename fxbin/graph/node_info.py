"""Names and decisions of nodes, stored in ``node.meta``, which no other file accesses for them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from torch import fx

_INFO, _PADDING, _REWRITTEN = "fxbin", "inlined_padding", "rewritten"

REPLACED = "replaced_conv2d"
"""The `op` of a node in place of a conv2d, whose names and decision it keeps."""


@dataclass(frozen=True)
class SiteRewrite:
    """What one rewrite of `compression.rewrites` has done at one conv2d call site, or why nothing."""

    rewrite: str
    """Name of the rewrite: ``"shortcuts"``."""

    change: str
    """What it has done: ``"identity"``; empty if it has left the call site alone."""

    reason: str = ""
    """Why it has left the call site alone; empty if it has not."""

    layer: str = ""
    """Qualified name of the layer that it has added: ``"layer1.0.conv1.rprelu"``; empty if none."""

    layout: str = ""
    """What it has changed around the call site, to compare graphs; the same in all of them."""


@dataclass(frozen=True)
class Decision:
    """Whether a conv2d call site is binarized, and the reason if not."""

    binarized: bool
    """Whether the call site is to be binarized."""

    reason: str
    """Why it stays in full precision; empty if it is binarized."""

    activation: str = ""
    """Qualified name of its activation binarizer: ``"layer1.0.conv1.activation_binarizer"``."""

    weight: str = ""
    """Qualified name of its weight binarizer: ``"layer1.0.conv1.weight_binarizer"``."""

    rewrites: tuple[SiteRewrite, ...] = ()
    """What each rewrite has done at the call site, in their order."""

    is_added: bool = False
    """Whether a rewrite has added the conv2d, which the model's own code does not run."""

    @property
    def changes(self) -> tuple[str, ...]:
        """Names of the rewrites that have changed something at the call site."""
        return tuple(found.rewrite for found in self.rewrites if found.change)

    def rewrite(self, name: str) -> SiteRewrite | None:
        """What the rewrite `name` does at the call site; None before that is decided."""
        return next((found for found in self.rewrites if found.rewrite == name), None)


@dataclass(frozen=True)
class NodeInfo:
    """Names of one node in terms of the model it was traced from, and the decision about it."""

    name: str
    """Hierarchical name: ``"ResNet/NNCFConv2d[conv1]/conv2d_0"``."""

    names: tuple[str, ...]
    """Names of all operators in the node that NNCF names, in execution order."""

    op: str
    """The operator as the code calls it: ``"conv2d"``."""

    scope: str
    """Hierarchical name of the module it runs in: ``"ResNet/NNCFConv2d[conv1]"``."""

    owner: str
    """Qualified name of that module: ``"conv1"``; empty for the root."""

    index: int
    """Counter of the operator in its scope."""

    nncf_binarizes: bool
    """Whether NNCF would binarize it: the conv2d of an `nn.Conv2d`, not of a subclass, in eval mode."""

    name_in_part: str = ""
    """Name of a conv2d inside an island in the graph of its part, the same for all calls; otherwise empty."""

    why_unreachable: str = ""
    """Why no graph runs this conv2d; empty for other nodes."""

    decision: Decision | None = None
    """The decision about a conv2d; None before it is made, and for other nodes."""

    def beside(self, op: str) -> "NodeInfo":
        """The info of a node `op` that a pass adds next to this one, in the same scope."""
        name = f"{self.scope}/{op}_{self.index}"
        return replace(self, name=name, names=(), op=op, nncf_binarizes=False, name_in_part="", decision=None)


def node_info(node: fx.Node) -> NodeInfo | None:
    """The info of `node`; None before it is named."""
    return cast("NodeInfo | None", node.meta.get(_INFO))


def set_node_info(node: fx.Node, info: NodeInfo) -> None:
    """Set the info of `node`."""
    node.meta[_INFO] = info


def set_decision(node: fx.Node, decision: Decision) -> None:
    """Set the decision about the conv2d in `node`, which must have been named."""
    info = node_info(node)
    assert info is not None
    set_node_info(node, replace(info, decision=decision))


def replaced_conv2d(graphs: Iterable[fx.Graph]) -> list[NodeInfo]:
    """The infos of conv2d call sites that rewrites have replaced in `graphs`, each once."""
    infos = (node_info(node) for graph in graphs for node in graph.nodes)
    return [*{info.name: info for info in infos if info is not None and info.op == REPLACED}.values()]


def node_decision(node: fx.Node) -> Decision | None:
    """The decision about the conv2d in `node`; None for other nodes."""
    info = node_info(node)
    return None if info is None else info.decision


def node_name(node: fx.Node) -> str:
    """Hierarchical name of `node`; the name of the fx node if it has not been named."""
    info = node_info(node)
    return node.name if info is None else info.name


def operator_names(graphs: Iterable[fx.Graph]) -> list[str]:
    """Names of all operators in `graphs` that NNCF names, in execution order."""
    infos = (node_info(node) for graph in graphs for node in graph.nodes)
    return [name for info in infos if info is not None for name in info.names]


def mark_inlined_padding(node: fx.Node) -> None:
    """Note that `node` is the padding that a conv2d module did itself."""
    node.meta[_PADDING] = True


def is_inlined_padding(node: fx.Node) -> bool:
    """Whether `node` is the padding that a conv2d module did itself."""
    return _PADDING in node.meta


def mark_rewritten(node: fx.Node, rewrite: str) -> None:
    """Note that `rewrite` has been carried out at the call site `node`."""
    node.meta[_REWRITTEN] = (*rewrites_of(node), rewrite)


def rewrites_of(node: fx.Node) -> tuple[str, ...]:
    """Names of the rewrites that have been carried out at the call site `node`."""
    return cast("tuple[str, ...]", node.meta.get(_REWRITTEN, ()))
