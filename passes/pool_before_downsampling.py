"""Replaces the stride of convolutions in shortcuts by average pooling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import fx, nn
from typing_extensions import override

from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.conv_settings import conv_settings
from fxbin.graph.data_flow import DataFlow, spec
from fxbin.graph.node_info import set_node_info
from fxbin.graph.record import TensorSpec, set_spec
from fxbin.graph.residual_block import residual_blocks
from fxbin.passes.inline_conv2d import inline
from fxbin.passes.rewrite import Change, Found, Rewrite


@dataclass(frozen=True)
class PoolBeforeDownsampling(Rewrite[Change]):
    """Let a strided 1x1 convolution in a shortcut read averages, where it would skip pixels.

        before:  x -> conv (1x1, stride 2) -> ... -> +
        after:   x -> average pooling (2x2) -> conv (1x1) -> ... -> +

    Its weight remains what it is, and keeps its name. Only convolutions in full precision change.

    Source: Liu et al. 2018, Bi-Real Net, arXiv:1808.00278, section 3.1; He et al. 2018, arXiv:1812.01187,
    ResNet-D.
    """

    name: ClassVar[str] = "pool-before-downsampling"
    key: ClassVar[str] = "downsample_pooling"

    @override
    def find(self, graph: fx.Graph, owner: nn.Module) -> Found[Change]:
        flow = DataFlow(owner, graph)
        in_shortcuts = {node for block in residual_blocks(flow, graph) for node in block.shortcut}
        sites = (site for site in call_sites(owner, graph) if site.info.decision is not None)
        return {
            site.name: found for site in sites if (found := _pooling(site, site.node in in_shortcuts)) is not None
        }

    @override
    def carry_out(self, graph: fx.Graph, owner: nn.Module, changes: Sequence[tuple[Change, str]]) -> None:
        for change, _ in changes:
            _pool(graph, change.site)


def _pooling(site: CallSite, is_in_shortcut: bool) -> Change | str | None:  # noqa: FBT001
    """The change at `site`, or why there is none; None if the rewrite is not about such a convolution."""
    decision = site.info.decision
    if site.why_not or decision is None or decision.is_added:
        return None
    settings = conv_settings(site)
    if settings.kernel != (1, 1) or not is_in_shortcut:
        return None
    if settings.stride == (1, 1):
        return "it has no stride"
    if decision.binarized:
        return "it is binarized: put it into ignored_scopes"
    if settings.padding != (0, 0):
        return "it pads its input"
    return Change(site, "average pooling in front, without stride")


def _pool(graph: fx.Graph, site: CallSite) -> None:
    stride, before, after = conv_settings(site).stride, spec(site.x), spec(site.node)
    assert before is not None
    assert after is not None
    info = site.info
    if not site.is_function:
        site = CallSite(site.owner, inline(graph, site))
    given = {**site.arguments, "stride": 1}
    with graph.inserting_before(site.node):
        settings = {"ceil_mode": True, "count_include_pad": False}
        pooled = graph.call_function(F.avg_pool2d, (site.x, stride, stride), settings)
    set_spec(pooled, TensorSpec((*before.shape[:-2], *after.shape[-2:]), before.dtype))
    set_node_info(pooled, info.beside("pool"))
    site.node.args, site.node.kwargs = (pooled, *list(given.values())[1:]), {}
