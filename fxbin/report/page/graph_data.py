"""The rewritten graph as compact data, which the script of the page folds and draws."""

from collections.abc import Mapping
from typing import Any

import networkx as nx
from torch import nn

from fxbin.config.operator_name import module_path, scope_elements
from fxbin.drawing.collapse import within_calls
from fxbin.drawing.dot import node_scopes, visible
from fxbin.drawing.networkx_graph import to_networkx
from fxbin.drawing.node_kind import NodeKind
from fxbin.report.units import shape_text

KINDS = tuple(map(str, NodeKind))
"""Kinds of nodes, by the number that stands for them."""


def graph_data(model: nn.Module, entries: Mapping[str, str]) -> dict[str, Any]:
    """The nodes and modules of the graph of eval mode, as JSON values.

    * ``root``: class of the model; ``kinds``: names of the kinds
    * ``scopes``: for each call path of modules, the number of the scope around it (-1 for the model), its
      last element, as in ``"BasicBlock[0]"``, and PyTorch's name of the module, empty if it has none
    * ``nodes``: in execution order, the numbers of scope and kind, the operator, its hierarchical name (empty
      if it is scope and operator), its entry for `ignored_scopes` (empty if that is its name, 1 if that is
      the name of its module), the shape, the reason why it is in full precision, and the numbers of the
      nodes that it takes tensors from

    Args:
        model: the model that `fxbin.transform` returned.
        entries: the short name of each call site, as `short_names` gives it.
    """
    drawn = visible(to_networkx(model))
    scopes = within_calls(drawn, node_scopes(drawn))
    root = type(model).__name__
    numbers: dict[tuple[str, ...], int] = {}
    order = {name: number for number, name in enumerate(drawn)}
    nodes = [
        [_number(scopes[name], numbers), *_described(data, entries), _sources(drawn, name, order)]
        for name, data in drawn.nodes(data=True)
    ]
    for node, path in zip(nodes, (scopes[name] for name in drawn), strict=True):
        _shorten(node, root, path)
    listed = [[numbers.get(path[:-1], -1), path[-1], _module_name(root, path)] for path in numbers]
    return {"root": root, "kinds": KINDS, "scopes": listed, "nodes": nodes}


def _number(path: tuple[str, ...], numbers: dict[tuple[str, ...], int]) -> int:
    """The number of the scope `path`, which gets one, after those around it, if it has none; -1 for none."""
    for length in range(1, len(path) + 1):
        numbers.setdefault(path[:length], len(numbers))
    return numbers.get(path, -1)


def _described(data: Mapping[str, Any], entries: Mapping[str, str]) -> list[Any]:
    name = str(data["name"])
    if data["kind"] in (NodeKind.INPUT, NodeKind.PARAMETER):
        own = str(data["target"])
    elif data["kind"] == NodeKind.OUTPUT:
        own = "output"
    else:
        own = name.removeprefix(f"{data['scope']}/")
    entry = entries.get(name, name)
    shape = "" if data["shape"] is None else shape_text(data["shape"], "\N{MULTIPLICATION SIGN}")
    return [KINDS.index(data["kind"]), own, name, entry if entry != name else "", shape, data["reason"]]


def _shorten(node: list[Any], root: str, path: tuple[str, ...]) -> None:
    """Leave out of `node`, which runs at `path`, what follows from the rest."""
    if node[3] == "/".join((root, *path, node[2])):
        node[3] = ""
    if node[4] and node[4] == _module_name(root, path):
        node[4] = 1


def _sources(drawn: "nx.DiGraph[str]", name: str, order: Mapping[str, int]) -> list[int]:
    return sorted(order[source] for source in drawn.predecessors(name))


def _module_name(root: str, path: tuple[str, ...]) -> str:
    """PyTorch's name of the module at `path`; empty if it has none."""
    scope = "/".join((root, *path))
    if scope_elements(scope)[1:] != path:
        return ""
    return module_path(f"{scope}/x") or ""
