"""Tells which nodes of a graph the result depends on."""

from torch import fx

from fxbin.graph.writes import writes


def is_used(node: fx.Node) -> bool:
    """Whether the result of the graph may depend on `node`, through operands or writes into other values.

    Nodes that are not used are not in an exported file.
    """
    seen = {node}
    waiting = [node]
    while waiting:
        for user in waiting.pop().users:
            if user in seen:
                continue
            if user.op == "output" or (writes(user) and user.all_input_nodes[0] not in seen):
                return True
            seen.add(user)
            waiting.append(user)
    return False
