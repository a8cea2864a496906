"""Scopes as nested boxes, for a drawing."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import networkx as nx

# A class, then the name that its parent has for it: which may hold any character but a dot.
_ELEMENT = re.compile(r"[^/\[]+(?:\[.*?\])?(?=/|$)")


def scope_elements(scope: str) -> tuple[str, ...]:
    """The elements of a scope.

    >>> scope_elements("ResNet/ModuleDict[a/b]/Conv2d[0]")
    ('ResNet', 'ModuleDict[a/b]', 'Conv2d[0]')
    """
    elements = tuple(_ELEMENT.findall(scope))
    # What does not come apart cleanly is drawn as one box.
    return elements if "/".join(elements) == scope else (scope,)


@dataclass(frozen=True)
class Box:
    """One stay in a scope: what ran there, from where the data came in to where it left."""

    path: tuple[str, ...]
    """Elements of the scope; empty for the box around everything."""

    nodes: dict[str, str]
    """Key of each node drawn directly in this box, and the scope that its label has to tell, if any."""

    boxes: "tuple[Box, ...]"


def boxes(graph: "nx.DiGraph[str]", scopes: Mapping[str, tuple[str, ...]]) -> Box:
    """The nodes of `graph` in boxes, by the scope of each.

    A module that is called twice gets two boxes: one would pull apart what belongs together. A call that is
    one node gets none; its label tells the scope.
    """
    return _box(graph, scopes, list(graph), ())


def _box(
    graph: "nx.DiGraph[str]",
    scopes: Mapping[str, tuple[str, ...]],
    members: Collection[str],
    path: tuple[str, ...],
) -> Box:
    depth = len(path)
    nodes = {node: "" for node in members if len(scopes[node]) <= depth}
    below: dict[str, list[str]] = {}
    for node in members:
        if node not in nodes:
            below.setdefault(scopes[node][depth], []).append(node)
    inner = []
    for element, group in below.items():
        for stay in nx.weakly_connected_components(graph.subgraph(group)):
            if len(stay) == 1:
                (node,) = stay
                nodes[node] = "/".join(scopes[node][depth:])
            else:
                # In execution order, which Graphviz uses to arrange what edges leave open.
                inner.append(_box(graph, scopes, [n for n in group if n in stay], (*path, element)))
    return Box(path, nodes, tuple(inner))
