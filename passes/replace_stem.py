"""Replaces the stem of a network by that of QuickNet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch.nn.functional as F
from torch import fx, nn
from typing_extensions import override

from fxbin.added import QuickNetStem
from fxbin.graph.attribute import attribute
from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.conv_settings import ConvSettings, conv_settings
from fxbin.graph.data_flow import DataFlow, readers, spec
from fxbin.graph.layer_kinds import called, has_hooks, is_relu
from fxbin.graph.node_info import REPLACED, Decision, NodeInfo, mark_rewritten, set_node_info
from fxbin.graph.record import TensorSpec
from fxbin.graph.residual_block import is_norm_in
from fxbin.passes.describe import describe
from fxbin.passes.one_pixel import WHY, is_one_pixel
from fxbin.passes.rewrite import Change, Found, Rewrite
from fxbin.passes.submodules import add_beside

ADDED = Decision(binarized=False, reason='added by the rewrite "quicknet_stem"', is_added=True)
STEM = ConvSettings((7, 7), (2, 2), (6, 6), (1, 1))
POOL = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1)}


@dataclass(frozen=True)
class Stem(Change):
    """A stem to be replaced."""

    nodes: tuple[fx.Node, ...] = ()
    """Its nodes after the convolution, in order: norm, ReLU and max pooling."""


@dataclass(frozen=True)
class ReplaceStem(Rewrite[Stem]):
    """Replace a 7x7 convolution with stride 2 and a max pooling by the stem of QuickNet.

        before:  x -> conv (7x7, stride 2) -> norm -> relu -> max pooling (3x3, stride 2) -> y
        after:   x -> conv.stem.conv (3x3, stride 2) -> norm -> relu
                   -> conv.stem.depthwise (3x3, stride 2) -> norm -> conv.stem.pointwise (1x1) -> norm -> y

    The replaced layers remain in the model and in its `state_dict`, but no longer learn.

    Source: Bannink et al. 2020, arXiv:2011.09398 (QuickNet).
    """

    name: ClassVar[str] = "replace-stem"
    key: ClassVar[str] = "quicknet_stem"
    layer: ClassVar[str] = "stem"

    @override
    def find(self, graph: fx.Graph, owner: nn.Module) -> Found[Stem]:
        flow = DataFlow(owner, graph)
        sites = (site for site in call_sites(owner, graph) if site.info.decision is not None)
        return {site.name: found for site in sites if (found := _stem(flow, site)) is not None}

    @override
    def carry_out(self, graph: fx.Graph, owner: nn.Module, changes: Sequence[tuple[Stem, str]]) -> None:
        for change, path in changes:
            _replace(graph, owner, change, path)


def _stem(flow: DataFlow, site: CallSite) -> Stem | str | None:
    """What is replaced at `site`, or why nothing is; None if it is no 7x7 convolution with stride 2."""
    decision = site.info.decision
    if decision is None or (decision.rewrite(ReplaceStem.key) is None and site.why_not):
        return None
    settings, x, y = conv_settings(site), spec(site.x), spec(site.node)
    if (settings.kernel, settings.stride) != (STEM.kernel, STEM.stride) or _groups(site) > 1:
        return None
    if decision.binarized:
        return "it is binarized: put it into ignored_scopes"
    if settings != STEM:
        return "its padding is not 3, or its dilation not 1"
    if site.is_function or x is None or y is None or len(y.shape) != 4:
        return "it is no layer that gets a batch of pictures"
    if y.shape[1] % 4:
        return f"its number of output channels, {y.shape[1]}, is no multiple of 4"
    calls = [node for node in flow.nodes if node.target == site.node.target]
    if len(calls) > 1:
        return "it is called several times"
    return _behind(flow, site)


def _groups(site: CallSite) -> int:
    settings = site.arguments if site.is_function else vars(attribute(site.owner, str(site.node.target)))
    return int(settings["groups"])


def _behind(flow: DataFlow, site: CallSite) -> Stem | str:
    """The change, if norm, ReLU and max pooling follow `site`, or why there is none."""
    found, node = [], site.node
    for what, fits in (
        ("a norm", is_norm_in),
        ("a ReLU", _is_relu),
        ("a max pooling 3x3, stride 2", _is_pool),
    ):
        following = [*node.users]
        if len(following) != 1 or readers(node) != following or not fits(flow, following[0]):
            return f"it is not followed by {what} alone"
        if has_hooks(flow.owner, following[0]):
            return f"{following[0].target} has hooks, which run around it"
        (node,) = following
        found.append(node)
    pooled = spec(node)
    if pooled is not None and is_one_pixel(pooled):
        return f"its output would need a BatchNorm, {WHY}"
    return Stem(site, "the stem of QuickNet", "", tuple(found))


def _is_relu(flow: DataFlow, node: fx.Node) -> bool:
    return is_relu(flow.owner, node)


def _is_pool(flow: DataFlow, node: fx.Node) -> bool:
    layer = called(flow.owner, node)
    if not isinstance(layer, nn.MaxPool2d) or layer.ceil_mode or layer.return_indices:
        return False
    found = {name: getattr(layer, name) for name in POOL}
    return {
        name: (each, each) if isinstance(each, int) else tuple(each) for name, each in found.items()
    } == POOL


def _replace(graph: fx.Graph, owner: nn.Module, change: Stem, path: str) -> None:
    site, (norm, relu, pool) = change.site, change.nodes
    x, y = spec(site.x), spec(site.node)
    assert x is not None
    assert y is not None
    add_beside(owner, path, lambda: QuickNetStem(x.shape[1], y.shape[1]))
    for parameter in (
        *attribute(owner, str(site.node.target)).parameters(recurse=False),
        *_weights(owner, norm),
    ):
        parameter.requires_grad_(False)
    with graph.inserting_before(pool):
        new = _layers(graph, site, path, y)
    set_node_info(new, replace(site.info, op=REPLACED))
    mark_rewritten(new, ReplaceStem.key)  # as the node of the call site is erased
    pool.replace_all_uses_with(new)
    for node in (pool, relu, norm, site.node):
        graph.erase_node(node)


def _weights(owner: nn.Module, norm: fx.Node) -> list[nn.Parameter]:
    """The parameters of the norm, a layer or a function."""
    layer = called(owner, norm)
    if layer is not None:
        return list(layer.parameters())
    fetched = (attribute(owner, str(each.target)) for each in norm.all_input_nodes if each.op == "get_attr")
    return [value for value in fetched if isinstance(value, nn.Parameter)]


def _layers(graph: fx.Graph, site: CallSite, path: str, after: TensorSpec) -> fx.Node:
    """Insert the layers of the stem at `path`, and return the last one."""
    n, channels, h, w = after.shape
    inside, (low_h, low_w) = channels // 4, ((h + 1) // 2, (w + 1) // 2)
    node = site.x
    for name, shape in (
        ("conv", (n, inside, h, w)),
        ("norm", (n, inside, h, w)),
        ("relu", (n, inside, h, w)),
        ("depthwise", (n, inside, low_h, low_w)),
        ("depthwise_norm", (n, inside, low_h, low_w)),
        ("pointwise", (n, channels, low_h, low_w)),
        ("pointwise_norm", (n, channels, low_h, low_w)),
    ):
        is_relu_node = name == "relu"
        node = (
            graph.call_function(F.relu, (node,))
            if is_relu_node
            else graph.call_module(f"{path}.{name}", (node,))
        )
        describe(node, TensorSpec(shape, after.dtype), _info(site.info, path, name))
    return node


def _info(info: NodeInfo, path: str, name: str) -> NodeInfo:
    if name not in ("conv", "depthwise", "pointwise"):
        return info.beside(f"stem_{name}")
    scope = f"{info.scope}/QuickNetStem[{path.rpartition('.')[2]}]/Conv2d[{name}]"
    found = replace(info.beside("conv2d"), name=f"{scope}/conv2d_{info.index}", scope=scope)
    return replace(found, owner=f"{path}.{name}", decision=ADDED)
