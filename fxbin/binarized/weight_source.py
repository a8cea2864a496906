"""Finds the real-valued weight before each weight binarizer, and the parameters it is computed from."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, fx, nn

from fxbin.binarized.effects_undone import effects_undone
from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers import WeightBinarizer
from fxbin.graph.attribute import attribute
from fxbin.graph.call_site import called_binarizer


@dataclass(frozen=True)
class WeightSource:
    """The nodes that compute one weight: only a parameter, or what a layer computes from parameters."""

    model: BinarizedModule
    """The model with the parameters."""

    graph: fx.Graph
    """The graph of the nodes."""

    nodes: tuple[fx.Node, ...]
    """The nodes in execution order; the last one is the weight."""

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that the weight is computed from, without duplicates."""
        values = [attribute(self.model, str(node.target)) for node in self.nodes if node.op == "get_attr"]
        return list(dict.fromkeys(value for value in values if isinstance(value, nn.Parameter)))

    @torch.no_grad()
    def value(self) -> Tensor:
        """The current weight, computed without side effects."""
        if len(self.nodes) == 1:
            return cast("Tensor", attribute(self.model, str(self.nodes[0].target)))
        interpreter = fx.Interpreter(self.model, garbage_collect_values=False, graph=self.graph)
        with effects_undone(self.model):
            for node in self.nodes:
                interpreter.env[node] = interpreter.run_node(node)
        return cast("Tensor", interpreter.env[self.nodes[-1]])


def weight_sources(model: BinarizedModule) -> dict[WeightBinarizer, WeightSource]:
    """The source of the input of each weight binarizer of `model`."""
    sources: dict[WeightBinarizer, WeightSource] = {}
    for graph in model.traced_graphs:
        for node in graph.nodes:
            binarizer = called_binarizer(model, node)
            if isinstance(binarizer, WeightBinarizer):
                nodes = computed_by(graph, node.all_input_nodes[0])
                sources.setdefault(binarizer, WeightSource(model, graph, nodes))
    return sources


def computed_by(graph: fx.Graph, weight: fx.Node) -> tuple[fx.Node, ...]:
    """`weight` and all nodes that it depends on, in execution order."""
    wanted, pending = {weight}, [weight]
    while pending:
        new = [source for source in pending.pop().all_input_nodes if source not in wanted]
        wanted.update(new)
        pending += new
    return tuple(node for node in graph.nodes if node in wanted)
