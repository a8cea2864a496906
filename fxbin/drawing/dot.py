"""The graph of a transformed model as a drawing: `fxbin.to_dot`."""

import html
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import graphviz
import networkx as nx
from torch import nn

from fxbin.binarized.unwrap import transformed
from fxbin.config.operator_name import scope_elements
from fxbin.drawing.collapse import check_depth, described
from fxbin.drawing.collapse import collapse as fold
from fxbin.drawing.networkx_graph import Mode, to_networkx
from fxbin.drawing.node_kind import NodeKind
from fxbin.drawing.scope_tree import Box, boxes
from fxbin.drawing.style import CLUSTER, EDGE, GRAPH, LEGEND, NODE, NODES, TITLE_CHARACTER

_LABEL_LENGTH = 44
"""Characters of a name that a label shows; longer names are shortened, and the tooltip has the full one."""

_QUIET_OPS = frozenset({"weight_binarizer", "conv2d"})
"""Operators whose weight and bias are not drawn, as all of them have a weight."""


def to_dot(model: nn.Module, *, graph: Mode = "eval", collapse: int | None = None) -> graphviz.Digraph:
    """Draw a transformed model with Graphviz; ``.render("resnet18", format="svg")`` writes a file.

    There is one box per scope, one node per operator, and on each edge the shape of the tensor for the
    example inputs. Binarizers, binarized conv2d and conv2d in full precision have their own colours and
    shapes, which a legend explains; each conv2d in full precision shows the reason. Sizes, other numbers and
    the weights of convolutions are not drawn. Long names are shortened; the tooltip has the full name.

    Args:
        model: the model that `fxbin.transform` returned.
        graph: ``"eval"`` or ``"train"``.
        collapse: draw each module that is this many modules below the model as one node: 1 folds
            ``layer1``, 2 folds ``layer1.0``; None folds nothing.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ValueError: `graph` is something else, the model has no graph in train mode, or `collapse` is not a
            whole number from 1 on.
    """
    model = transformed(model, "to_dot")
    check_depth("collapse", collapse)
    drawn = visible(to_networkx(model, graph=graph))
    convs = [data for _, data in drawn.nodes(data=True) if data["op"] == "conv2d"]
    scopes = node_scopes(drawn)
    if collapse is not None:
        folded = fold(drawn, scopes, collapse)
        drawn, scopes = folded.graph, folded.scopes
    dot = graphviz.Digraph(type(model).__name__, graph_attr=GRAPH, node_attr=NODE, edge_attr=EDGE)
    sites = model.binarization.sites
    title = f"{type(model).__name__}, {graph} mode: {len(sites)} of {len(convs)} conv2d binarized"
    dot.attr(label=graphviz.escape(f"{title}, stage: {model.binarization.stage}"))
    _add_legend(dot, {data["kind"] for _, data in drawn.nodes(data=True)})
    _add_box(dot, boxes(drawn, scopes), drawn)
    for source, user, flow in drawn.edges(data=True):
        # A higher weight draws the path of the data straight; weights and parameters come in from the side.
        is_side = drawn.nodes[source]["kind"] in (NodeKind.WEIGHT_BINARIZER, NodeKind.PARAMETER)
        weight = "1" if is_side else "8"
        # The space keeps the text off the arrow.
        shape = f" {_shape(flow)}".rstrip()
        dot.edge(source, user, label=shape, weight=weight, tooltip=_flow(flow), labeltooltip=_flow(flow))
    return dot


def visible(graph: "nx.DiGraph[str]") -> "nx.DiGraph[str]":
    """The part of `graph` that is drawn: inputs, outputs, and operators that compute tensors.

    A node that takes a part out of a result is skipped, so that an edge leads from the operator to the users
    of the part.
    """
    drawn: nx.DiGraph[str] = nx.DiGraph()
    for name, data in graph.nodes(data=True):
        if _is_drawn(graph, name, data):
            drawn.add_node(name, **data)
            for source, flow in _sources(graph, name):
                drawn.add_edge(source, name, **flow)
    return drawn


def _is_drawn(graph: "nx.DiGraph[str]", name: str, data: dict[str, Any]) -> bool:
    users = [graph.nodes[user]["op"] for user in graph.successors(name)]
    if data["kind"] == NodeKind.PARAMETER:
        return any(user not in _QUIET_OPS for user in users)
    if data["kind"] == NodeKind.INPUT:
        return bool(users) and (data["shape"] is not None or _is_container(graph, name))
    return bool(data["kind"] != NodeKind.VALUE)


def _is_container(graph: "nx.DiGraph[str]", name: str) -> bool:
    return any(graph.nodes[user]["shape"] is not None for user in graph.successors(name))


def _sources(graph: "nx.DiGraph[str]", name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the drawn nodes from which `name` gets tensors, with the attributes of each edge."""
    for source in graph.predecessors(name):
        data, flow = graph.nodes[source], graph.edges[source, name]
        if data["kind"] != NodeKind.VALUE:
            if _is_drawn(graph, source, data):
                yield source, flow
        elif data["shape"] is not None:
            for origin, _ in _sources(graph, source):
                yield origin, flow


def node_scopes(drawn: "nx.DiGraph[str]") -> dict[str, tuple[str, ...]]:
    """The scope of each drawn node, as elements without the first one, which is the model itself."""
    scopes = {}
    for name, data in drawn.nodes(data=True):
        scope = data["scope"]
        if data["kind"] == NodeKind.PARAMETER and not scope:
            scope = next((drawn.nodes[user]["scope"] for user in drawn.successors(name)), "")
        scopes[name] = scope_elements(scope)[1:]
    return scopes


def _add_box(dot: graphviz.Digraph, box: Box, drawn: "nx.DiGraph[str]") -> None:
    for name, scope in box.nodes.items():
        _add_node(dot, name, drawn.nodes[name], scope)
    for inner in box.boxes:
        # Two boxes may have the same scope; the first node makes the name of each unique.
        with dot.subgraph(name=f"cluster {_first_node(inner)} {'/'.join(inner.path)}") as subgraph:
            subgraph.attr(label=_title(inner.path[-1]), labeljust="r", **CLUSTER)
            subgraph.attr(tooltip=graphviz.escape("/".join(inner.path)))
            _add_box(subgraph, inner, drawn)


def _title(element: str) -> str:
    """The title of a box, with as much space before it, so that it stands in the right half of the box.

    Data come in from above, in the middle, or further left where weights stand on the right: from the left,
    the title would be crossed by their arrows.
    """
    shown = shortened(element)
    space = round(len(shown) * TITLE_CHARACTER)
    cells = f'<td width="{space}"></td><td>{html.escape(shown)}</td>'
    return f'<<table border="0" cellborder="0" cellspacing="0" cellpadding="0"><tr>{cells}</tr></table>>'


def _first_node(box: Box) -> str:
    """The first of its nodes, or else that of its first box: no box is empty."""
    return next(iter(box.nodes), None) or _first_node(box.boxes[0])


def _add_node(dot: graphviz.Digraph, name: str, data: dict[str, Any], scope: str) -> None:
    lines = [scope] if scope else []
    lines.append(_own_name(data))
    tooltip = "\n".join(filter(None, [*_named(data), _flow(data), data["reason"]]))
    style = NODES[NodeKind(data["kind"])]
    dot.node(name, label=_label(lines, data["reason"]), tooltip=graphviz.escape(tooltip), **style)


def _named(data: dict[str, Any]) -> list[str]:
    """The names of what runs in the node `data`; of a folded module, its own and those of its conv2d."""
    if data["kind"] != NodeKind.MODULE:
        return [*(data["names"] or [data["name"]])]
    convs = [inner for inner in data["inside"] if inner["op"] == "conv2d"]
    reasons = (f"{inner['name']}: {inner['reason'] or 'binarized'}" for inner in convs)
    return [data["name"], *reasons]


def _own_name(data: dict[str, Any]) -> str:
    if data["kind"] == NodeKind.MODULE:
        return described(data["inside"])
    if data["kind"] in (NodeKind.INPUT, NodeKind.PARAMETER):
        return str(data["target"])
    if data["kind"] == NodeKind.OUTPUT:
        return "output"
    return str(data["name"]).removeprefix(f"{data['scope']}/")


def _label(lines: list[str], reason: str) -> str:
    """`lines` with `reason` in italics below, in the HTML that Graphviz takes for labels."""
    shown = [html.escape(shortened(line)) for line in lines]
    shown += [f"<i>{html.escape(line)}</i>" for line in textwrap.wrap(reason, 34)]
    return f"<{'<br/>'.join(shown)}>"


def shortened(name: str) -> str:
    """`name`, with an ellipsis in place of its middle if it is longer than `_LABEL_LENGTH`."""
    half = _LABEL_LENGTH // 2
    return name if len(name) <= _LABEL_LENGTH else f"{name[: half - 1]}…{name[-half:]}"


def _shape(data: dict[str, Any]) -> str:
    return "" if data["shape"] is None else "\N{MULTIPLICATION SIGN}".join(map(str, data["shape"]))


def _flow(data: dict[str, Any]) -> str:
    return "" if data["shape"] is None else f"{data['dtype']} {_shape(data)}"


def _add_legend(dot: graphviz.Digraph, kinds: set[str]) -> None:
    """Add a box that explains the node kinds in `kinds`, with one node of each."""
    with dot.subgraph(name="cluster legend") as box:
        box.attr(label="Legend", **CLUSTER)
        shown = [kind for kind in LEGEND if kind in kinds]
        for kind in shown:
            text, _, reason = LEGEND[kind].partition("\n")
            box.node(f"legend {kind}", label=_label([text], reason), **NODES[kind])
        for above, below in pairwise(shown):
            box.edge(f"legend {above}", f"legend {below}", style="invis")
