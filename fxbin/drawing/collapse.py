"""Draws the inside of each module as one node, from a depth on."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Any

import networkx as nx

from fxbin.config.operator_name import scope_elements
from fxbin.drawing.node_kind import NodeKind

Scopes = Mapping[str, tuple[str, ...]]
"""The scope of each node, as elements without the first one, which is the model itself."""


def check_depth(option: str, depth: Any) -> None:
    """Raise ValueError unless `depth`, given as `option`, is None or a whole number from 1 on."""
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 1):
        raise ValueError(
            f"{option}: expected a whole number from 1 on, got {depth!r}; 1 folds the modules that the model "
            "itself holds"
        )


@dataclass(frozen=True)
class Collapsed:
    """A graph in which calls of modules are single nodes."""

    graph: "nx.DiGraph[str]"
    """Its nodes have the attributes of `to_networkx`; folded ones also have ``inside``."""

    scopes: dict[str, tuple[str, ...]]
    """The scope of each node."""


def within_calls(graph: "nx.DiGraph[str]", scopes: Scopes) -> dict[str, tuple[str, ...]]:
    """`scopes`, with nodes that have no scope of their own inside the call around them.

    A module that runs no operator, such as an `nn.Identity`, leaves a node without a scope, which would cut
    the call that it is in into two. Its scope is what those of the nodes before and after it have in common.
    """
    outside = (NodeKind.INPUT, NodeKind.OUTPUT)
    names = [name for name in graph if graph.nodes[name]["kind"] not in outside]
    has_scope = {name: bool(graph.nodes[name]["scope"]) or bool(scopes[name]) for name in names}
    found = dict(scopes)
    for index, name in enumerate(names):
        if not has_scope[name]:
            before = next((scopes[other] for other in reversed(names[:index]) if has_scope[other]), ())
            after = next((scopes[other] for other in names[index + 1 :] if has_scope[other]), ())
            common = takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
            found[name] = tuple(element for element, _ in common)
    return found


def collapse(graph: "nx.DiGraph[str]", scopes: Scopes, depth: int) -> Collapsed:
    """Fold each call of a module that is `depth` modules below the model into one node.

    The nodes of `graph` are in execution order, in which those of one call are neighbours. A folded node has
    the key and the shape of the last of them, the kind ``"module"``, and under ``inside`` the attributes of
    all. A call that consists of one node stays as it is.
    """
    scopes = within_calls(graph, scopes)
    runs = [list(run) for _, run in groupby(graph, key=lambda name: _group(name, scopes[name], depth))]
    folded: nx.DiGraph[str] = nx.DiGraph()
    kept: dict[str, str] = {}
    new_scopes: dict[str, tuple[str, ...]] = {}
    for run in runs:
        last = run[-1]
        kept |= dict.fromkeys(run, last)
        is_folded = len(run) > 1
        new_scopes[last] = scopes[last][:depth] if is_folded else scopes[last]
        attributes = _module(graph, run, depth) if is_folded else graph.nodes[last]
        folded.add_node(last, **attributes)
    for source, user, flow in graph.edges(data=True):
        if kept[source] != kept[user]:
            folded.add_edge(kept[source], kept[user], **flow)
    return Collapsed(folded, new_scopes)


def _group(name: str, scope: tuple[str, ...], depth: int) -> tuple[str, ...]:
    """What nodes of one call have in common: the scope down to `depth`, or the node itself above that."""
    return scope[:depth] if len(scope) >= depth else ("node", name)


def _module(graph: "nx.DiGraph[str]", run: list[str], depth: int) -> dict[str, Any]:
    """The attributes of the node that stands for the nodes `run`."""
    inside = [graph.nodes[name] for name in run]
    scope = "/".join(scope_elements(inside[-1]["scope"])[: depth + 1])
    return {
        **inside[-1],
        "name": scope,
        "names": (),
        "op": "module",
        "kind": str(NodeKind.MODULE),
        "reason": "",
        "inside": inside,
    }


def described(inside: list[dict[str, Any]]) -> str:
    """What a folded node holds, in one line: ``"2 of 3 conv2d binarized"``, or the number of operators."""
    convs = [data["kind"] for data in inside if data["op"] == "conv2d"]
    if not convs:
        count = sum(data["kind"] == NodeKind.OPERATOR for data in inside)
        return f"{count} operator{'s' * (count != 1)}"
    return f"{convs.count(NodeKind.BINARIZED_CONV2D)} of {len(convs)} conv2d binarized"
