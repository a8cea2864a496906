"""Scopes as nested boxes, for a drawing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import networkx as nx


@dataclass(frozen=True)
class Box:
    """A box around the connected nodes of one call of a module, with boxes for the modules it calls."""

    path: tuple[str, ...]
    """Elements of the scope; empty for the box around everything."""

    nodes: dict[str, str]
    """Keys of the nodes drawn directly in this box, each with the scope its label shows, or empty."""

    boxes: "tuple[Box, ...]"
    """The boxes inside this one."""


def boxes(graph: "nx.DiGraph[str]", scopes: Mapping[str, tuple[str, ...]]) -> Box:
    """Put the nodes of `graph` into nested boxes, by the elements of the scope of each.

    A module that is called twice gets two boxes: one box would pull distant parts of the drawing together. A
    call that consists of one node gets no box; the label of the node shows the scope.
    """
    return _box(graph, scopes, list(graph), ())


def _box(
    graph: "nx.DiGraph[str]",
    scopes: Mapping[str, tuple[str, ...]],
    members: Collection[str],
    path: tuple[str, ...],
) -> Box:
    """The box with the scope `path` around the nodes `members`."""
    depth = len(path)
    nodes = {node: "" for node in members if len(scopes[node]) <= depth}
    below: dict[str, list[str]] = {}
    for node in members:
        if node not in nodes:
            below.setdefault(scopes[node][depth], []).append(node)
    inner = []
    for element, group in below.items():
        for component in nx.weakly_connected_components(graph.subgraph(group)):
            if len(component) == 1:
                (node,) = component
                nodes[node] = "/".join(scopes[node][depth:])
            else:
                # In execution order, by which Graphviz places nodes that edges do not order.
                inner.append(_box(graph, scopes, [n for n in group if n in component], (*path, element)))
    return Box(path, nodes, tuple(inner))
