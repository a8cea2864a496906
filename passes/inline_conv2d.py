"""Replaces the modules of selected conv2d call sites by calls of `F.conv2d`."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, fx, nn
from typing_extensions import override

from fxbin import torch_private
from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.node_info import mark_inlined_padding, set_node_info
from fxbin.graph.record import set_spec, spec_of
from fxbin.passes.base import Pass
from fxbin.passes.describe import describe
from fxbin.tracing import specs


@dataclass(frozen=True)
class InlineConv2d(Pass):
    """Make the weight and the padding of each selected conv2d module separate nodes.

        before:  x -> conv (module)
        after:   x -> pad (unless it is zeros) -> conv2d <- conv.weight, conv.bias

    The module remains, so that its parameters keep their names. Its other calls, which stay in full
    precision, are rewritten as well: calling the module would binarize them.
    """

    name: ClassVar[str] = "inline-conv2d"
    binarized: frozenset[str] = frozenset()
    """Qualified names of the modules that have a selected call site, in this graph or in another."""

    @override
    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        chosen = [site for site in call_sites(owner, graph) if not site.is_function and self._is_chosen(site)]
        for site in chosen:
            inline(graph, site)
        return bool(chosen)

    def _is_chosen(self, site: CallSite) -> bool:
        return site.node.target in self.binarized or site.selected is not None


def inline(graph: fx.Graph, site: CallSite) -> fx.Node:
    """Replace the call of a conv2d module by a call of `F.conv2d` with the same result, and return that."""
    node, layer = site.node, site.owner.get_submodule(str(site.node.target))
    assert isinstance(layer, nn.Conv2d)
    with graph.inserting_before(node):
        x, padding = site.x, layer.padding
        if layer.padding_mode != "zeros":
            x = _pad(graph, x, layer)
            set_node_info(x, site.info.beside("pad"))
            padding = (0, 0)
        weight = _fetch(graph, site, "weight", layer.weight)
        bias = None if layer.bias is None else _fetch(graph, site, "bias", layer.bias)
        settings = (layer.stride, padding, layer.dilation, layer.groups)
        conv = graph.call_function(F.conv2d, (x, weight, bias, *settings))
    conv.meta = node.meta
    node.replace_all_uses_with(conv)
    graph.erase_node(node)
    return conv


def _fetch(graph: fx.Graph, site: CallSite, name: str, parameter: Tensor) -> fx.Node:
    node = graph.create_node("get_attr", f"{site.node.target}.{name}")
    describe(node, specs(parameter), site.info.beside(name))
    return node


def _pad(graph: fx.Graph, x: fx.Node, layer: nn.Conv2d) -> fx.Node:
    amounts = tuple(torch_private.padding_amounts(layer))
    pad = graph.call_function(F.pad, (x, amounts), {"mode": layer.padding_mode})
    mark_inlined_padding(pad)
    set_spec(pad, spec_of(x))
    return pad
