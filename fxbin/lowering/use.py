"""Tells which nodes of a graph the result depends on."""

from torch import fx

from fxbin.graph.data_flow import ancestors
from fxbin.graph.writes import writes


class Use:
    """Which nodes of a graph its result may depend on, through operands or writes into other values.

    Nodes that are not used are not in an exported file. It is about the graph as it was at the beginning.
    """

    def __init__(self, graph: fx.Graph) -> None:
        # Nearly all nodes are operands of operands of the output. Found once, not by a search for each node.
        (output,) = graph.find_nodes(op="output")
        self._operands = ancestors(output)

    def includes(self, node: fx.Node) -> bool:
        """Whether the result may depend on `node`."""
        return node in self._operands or _is_written(node)


def _is_written(node: fx.Node) -> bool:
    """Whether `node`, from which no path leads to the output, is written into another value."""
    seen = {node}
    waiting = [node]
    while waiting:
        for user in waiting.pop().users:
            if user in seen:
                continue
            if writes(user) and user.all_input_nodes[0] not in seen:
                return True
            seen.add(user)
            waiting.append(user)
    return False
