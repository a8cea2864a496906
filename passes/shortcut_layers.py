"""The layers of a shortcut around one convolution: what they have to change, and their nodes."""

import operator
from dataclasses import dataclass, replace

import torch
from torch import fx

from fxbin.added import Projection
from fxbin.graph.call_site import CallSite
from fxbin.graph.conv_settings import ConvSettings, conv_settings
from fxbin.graph.data_flow import spec
from fxbin.graph.node_info import Decision, set_node_info
from fxbin.graph.record import TensorSpec, set_spec
from fxbin.passes.average_pool import average_pool
from fxbin.passes.describe import describe
from fxbin.passes.submodules import add_beside

ADDED = Decision(binarized=False, reason='added by the rewrite "shortcuts"', is_added=True)


@dataclass(frozen=True)
class ShortcutLayers:
    """The layers between the input of a convolution and the sum; none of them is the identity."""

    stride: tuple[int, int] = (1, 1)
    """Size and stride of the average pooling; (1, 1) for none."""

    ceil: bool = False
    """Whether the pooling rounds the size of its output up, as the convolution does."""

    repeats: int = 1
    """How often the channels are repeated."""

    channels: int = 0
    """Number of output channels of a 1x1 convolution with BatchNorm; 0 for none."""

    @property
    def text(self) -> str:
        """The layers in words: ``"average pooling, channels repeated 2 times"``."""
        parts = []
        if self.stride != (1, 1):
            parts.append("average pooling")
        if self.repeats > 1:
            parts.append(f"channels repeated {self.repeats} times")
        if self.channels:
            parts.append("1x1 convolution and BatchNorm")
        return ", ".join(parts) or "identity"


IDENTITY = ShortcutLayers()


def shortcut_layers(site: CallSite, x: TensorSpec, y: TensorSpec) -> ShortcutLayers | str:
    """The layers that make of `x`, the input of `site`, something to add to its output `y`; or why none can.

    Sizes agree for every size of the input: the pooling rounds as the convolution does.
    """
    settings = conv_settings(site)
    pooled = _rounding(settings)
    if pooled is None:
        return (
            f"its output of {y.shape[-2]}x{y.shape[-1]} for an input of {x.shape[-2]}x{x.shape[-1]} has "
            "another size than the input, or than its average pooling with the same stride"
        )
    layers = ShortcutLayers(settings.stride, pooled)
    before, after = x.shape[-3], y.shape[-3]
    if after % before == 0:
        return replace(layers, repeats=after // before)
    if settings.kernel == (1, 1):
        return (
            f"channels go from {before} to {after}, which is no multiple, and a 1x1 convolution in full "
            "precision would cost as much as the convolution itself"
        )
    return replace(layers, channels=after)


def _rounding(settings: ConvSettings) -> bool | None:
    """Whether the output has ceil(n / stride) pixels for n, or floor(n / stride), False; None if neither."""
    found = set()
    axes = (settings.kernel, settings.stride, settings.padding, settings.dilation)
    for k, s, p, d in zip(*axes, strict=True):
        margin = p - d * (k - 1) - 1 + s  # the output has floor((n + margin) / s)
        if margin not in (0, s - 1):
            return None
        if s > 1:
            found.add(margin > 0)
    return None if len(found) > 1 else True in found


def add_shortcut(
    graph: fx.Graph, site: CallSite, ends: tuple[fx.Node, fx.Node], layers: ShortcutLayers, path: str
) -> fx.Node:
    """Insert the nodes of `layers` and the sum of both `ends`, and return the sum.

    Args:
        graph: the graph, with the place where nodes are inserted.
        site: the convolution that the shortcut goes around.
        ends: what is added to, and where the shortcut begins.
        layers: the layers of the shortcut.
        path: qualified name of the `Projection` to be added if there has to be one.
    """
    y, source = ends
    x = source
    if layers.stride != (1, 1):
        info = site.info.beside("shortcut_pool")
        x = average_pool(graph, x, layers.stride, info, ceil=layers.ceil)
    if layers.repeats > 1:
        x = _repeat(graph, site, x, layers.repeats)
    if layers.channels:
        x = _project(graph, site, x, layers.channels, path)
    total = graph.call_function(operator.add, (y, x))
    describe(total, spec(y), site.info.beside("shortcut_sum"))
    return total


def _repeat(graph: fx.Graph, site: CallSite, x: fx.Node, repeats: int) -> fx.Node:
    before = spec(x)
    assert before is not None
    repeated = graph.call_function(torch.cat, ([x] * repeats,), {"dim": len(before.shape) - 3})
    wider = _with_channels(before, before.shape[-3] * repeats)
    describe(repeated, wider, site.info.beside("shortcut_repeat"))
    return repeated


def _project(graph: fx.Graph, site: CallSite, x: fx.Node, channels: int, path: str) -> fx.Node:
    before = spec(x)
    assert before is not None
    add_beside(site.owner, path, lambda: Projection(before.shape[-3], channels))
    conv = graph.call_module(f"{path}.conv", (x,))
    norm = graph.call_module(f"{path}.norm", (conv,))
    for node in (conv, norm):
        set_spec(node, _with_channels(before, channels))
    info = site.info.beside("shortcut_norm")
    set_node_info(norm, info)
    scope = f"{info.scope}/Projection[{path.rpartition('.')[2]}]/Conv2d[conv]"
    name = f"{scope}/conv2d_{info.index}"
    info = replace(info, name=name, op="conv2d", scope=scope, owner=f"{path}.conv", decision=ADDED)
    set_node_info(conv, info)
    return norm


def _with_channels(x: TensorSpec, channels: int) -> TensorSpec:
    return TensorSpec((*x.shape[:-3], channels, *x.shape[-2:]), x.dtype)
