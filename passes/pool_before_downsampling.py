"""Replaces the stride of convolutions in shortcuts by average pooling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import fx, nn
from typing_extensions import override

from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.conv_settings import conv_settings
from fxbin.graph.data_flow import DataFlow
from fxbin.graph.residual_block import residual_blocks
from fxbin.passes.average_pool import average_pool
from fxbin.passes.inline_conv2d import inline
from fxbin.passes.rewrite import Change, Found, Rewrite


@dataclass(frozen=True)
class PoolBeforeDownsampling(Rewrite[Change]):
    """Let a strided 1x1 convolution in a shortcut read averages, where it would skip pixels.

        before:  x -> conv (1x1, stride 2) -> ... -> +
        after:   x -> average pooling (2x2) -> conv (1x1) -> ... -> +

    Its weight remains what it is, and keeps its name. Only convolutions in full precision change.

    Source: He et al. 2018, arXiv:1812.01187, section 4, ResNet-D; the code of Bi-Real Net does the same.
    """

    name: ClassVar[str] = "pool-before-downsampling"
    key: ClassVar[str] = "downsample_pooling"

    @override
    def find(self, graph: fx.Graph, owner: nn.Module) -> Found[Change]:
        flow = DataFlow(owner, graph)
        in_shortcuts = {node for block in residual_blocks(flow, graph) for node in block.shortcut}
        sites = [site for site in call_sites(owner, graph) if site.node in in_shortcuts]
        return {site.name: found for site in sites if (found := _pooling(site)) is not None}

    @override
    def carry_out(self, graph: fx.Graph, owner: nn.Module, changes: Sequence[tuple[Change, str]]) -> None:
        pooled = {change.site.node for change, _ in changes}
        layers = {node.target for node in pooled if node.op == "call_module"}
        for site in [*call_sites(owner, graph)]:
            node = site.node
            if node.op == "call_module" and node.target in layers:
                # Other calls of the layer, too: a layer with a site that is rewritten runs in graphs alone.
                site = CallSite(owner, inline(graph, site))
            if node in pooled:
                _pool(graph, site)


def _pooling(site: CallSite) -> Change | str | None:
    """The change at `site` in a shortcut, or why there is none; None if it is no strided 1x1 convolution."""
    decision = site.info.decision
    if decision is None or decision.is_added:
        return None
    # In a graph that is traced later, the layer has a replaced forward, for calls by other code.
    if decision.rewrite(PoolBeforeDownsampling.key) is None and site.why_not:
        return site.why_not
    settings = conv_settings(site)
    if settings.kernel != (1, 1) or settings.stride == (1, 1):
        return None
    if decision.binarized:
        return "it is binarized: put it into ignored_scopes"
    if settings.padding != (0, 0):
        return "it pads its input"
    return Change(site, "average pooling in front, without stride")


def _pool(graph: fx.Graph, site: CallSite) -> None:
    stride, info = conv_settings(site).stride, site.info.beside("pool")
    given = {**site.arguments, "stride": 1}
    with graph.inserting_before(site.node):
        pooled = average_pool(graph, site.x, stride, info, ceil=True)
    site.node.args, site.node.kwargs = (pooled, *list(given.values())[1:]), {}
