"""Gives every node its hierarchical name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import fx, nn
from typing_extensions import override

from fxbin.graph.node_info import NodeInfo, node_info, set_node_info
from fxbin.graph.record import OpCall, forget_ops, ops_of
from fxbin.passes.base import Pass
from fxbin.scopes.naming import Names


@dataclass(frozen=True)
class NameNodes(Pass):
    """Turn the operators that the tracer recorded in each node into a `NodeInfo`.

    A node that runs several operators is named after its conv2d, or else after the last one. A node that runs
    none, such as the fetch of a parameter, is named after its target.
    """

    name: ClassVar[str] = "name-nodes"
    names: Names
    sites_in_parts: Mapping[str, OpCall] = field(default_factory=dict)
    """Operator in the graph of a part, for each conv2d inside an island, by address."""

    why_unreachable: Mapping[str, str] = field(default_factory=dict)
    """Reason why no graph runs a conv2d, by address."""

    @override
    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        paths = {child: path for path, child in owner.named_modules()}
        pending = [node for node in graph.nodes if node_info(node) is None]
        for node in pending:
            set_node_info(node, self._info(node, paths))
            forget_ops(node)
        return bool(pending)

    def _info(self, node: fx.Node, paths: dict[nn.Module, str]) -> NodeInfo:
        ops = ops_of(node)
        names = tuple(self.names.name(op) for op in ops if op.tracked)
        main = next((op for op in ops if op.op == "conv2d"), ops[-1] if ops else None)
        if main is None:
            target = node.target if isinstance(node.target, str) else node.name
            return NodeInfo(
                name=target, names=(), op=node.op, scope="", owner="", index=0, nncf_binarizes=False
            )
        in_part = self.sites_in_parts.get(main.address)
        return NodeInfo(
            name=self.names.name(main),
            names=names,
            op=main.op,
            scope=self.names.scope(main.scope),
            owner=_owner(main, paths),
            index=main.index,
            nncf_binarizes=self.names.nncf_binarizes(main),
            name_in_part="" if in_part is None else self.names.name(in_part),
            why_unreachable=self.why_unreachable.get(main.address, ""),
        )


def _owner(op: OpCall, paths: dict[nn.Module, str]) -> str:
    """Qualified name of the innermost module in the scope of `op` that the root holds."""
    for element in reversed(op.scope):
        if element.module in paths:
            return paths[element.module]
    return ""
