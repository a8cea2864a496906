"""Adds a shortcut around each binarized convolution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import ClassVar

from torch import fx, nn
from typing_extensions import override

from fxbin.graph.call_site import CallSite, call_sites, is_call_site
from fxbin.graph.conv_settings import conv_settings
from fxbin.graph.data_flow import DataFlow, ancestors, is_returned, only_reader, spec
from fxbin.graph.layer_kinds import called, is_activation, is_dropout
from fxbin.graph.residual_block import ResidualBlock, is_norm_in, residual_blocks
from fxbin.graph.sums import has_factor
from fxbin.graph.writes import works_in_place
from fxbin.passes.one_pixel import WHY, is_one_pixel
from fxbin.passes.rewrite import Change, Found, Rewrite
from fxbin.passes.shortcut_layers import IDENTITY, ShortcutLayers, add_shortcut, shortcut_layers

_BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


class Place(Enum):
    """Which shortcut a convolution gets, and where it ends."""

    OWN = auto()
    """One from its own input, to behind its norm."""

    OF_BLOCK = auto()
    """The one of the residual block, which ends behind its norm from now on."""

    AT_SUM = auto()
    """One from its own input, which takes the place of the block's in the sum of the block."""


@dataclass(frozen=True)
class Shortcut(Change):
    """A shortcut to be added around one convolution."""

    place: Place = Place.OWN
    """Which shortcut it is."""

    layers: ShortcutLayers = IDENTITY
    """What it consists of."""

    end: fx.Node | None = None
    """What the shortcut is added to."""

    source: fx.Node | None = None
    """Where it begins."""

    block: ResidualBlock | None = None
    """The residual block that it changes, if any."""

    @property
    @override
    def adds_layer(self) -> bool:
        return self.layers.channels > 0


@dataclass(frozen=True)
class AddShortcuts(Rewrite[Shortcut]):
    """Add a shortcut around each binarized convolution, to behind the norm that follows it.

        before:  x -> conv -> norm -> y
        after:   x -> conv -> norm -> + -> y
                 x -> average pooling, repeated channels ... -^

    In a residual block, the block's own shortcut becomes that of its first convolution, and each later one
    gets one from its own input, so that nothing is added twice:

        before:  x -> conv1 -> norm -> relu -> conv2 -> norm -> + -> relu
                 x -> shortcut of the block --------------------^
        after:   x -> conv1 -> norm -> + -> relu (r) -> conv2 -> norm -> + -> relu
                 x -> shortcut of the block -^           r --------------^

    With norms in front of convolutions (pre-activation), shortcuts begin in front of the norm and end behind
    the convolution.

    Source: Liu et al. 2018, Bi-Real Net, arXiv:1808.00278, section 3.1; repeated channels as in Liu et al.
    2020, ReActNet, arXiv:2003.03488, section 4.1.
    """

    name: ClassVar[str] = "add-shortcuts"
    key: ClassVar[str] = "shortcuts"
    layer: ClassVar[str] = "shortcut"

    @override
    def find(self, graph: fx.Graph, owner: nn.Module) -> Found[Shortcut]:
        flow = DataFlow(owner, graph)
        found: dict[str, Shortcut | str] = {}
        for block in residual_blocks(flow, graph):
            found |= _of_block(flow, block)
        for site in call_sites(owner, graph):
            if site.selected is not None and site.name not in found:
                found[site.name] = _own(flow, site)
        return found

    @override
    def carry_out(self, graph: fx.Graph, owner: nn.Module, changes: Sequence[tuple[Shortcut, str]]) -> None:
        order = {node: index for index, node in enumerate(graph.nodes)}
        sums: dict[fx.Node, fx.Node] = {}
        for change, path in sorted(changes, key=lambda item: order[item[0].site.node]):
            _add(graph, change, path, sums)


def _of_block(flow: DataFlow, block: ResidualBlock) -> dict[str, Shortcut | str]:
    """What is done at the convolutions of a residual block."""
    sites = [site for site in block.sites if site.selected is not None]
    moved = _moved(flow, block)
    if isinstance(moved, str):
        found = {site.name: _own(flow, site, block) for site in sites}
        if sites and sites[-1] == block.sites[-1]:
            found[sites[-1].name] = f"it has a shortcut: {moved}"
    else:
        found = moved
    # The same has to be done in the whole block, or nothing.
    layout = "; ".join(
        f"{name}: {each if isinstance(each, str) else f'{each.place.name} {each.text}'}"
        for name, each in found.items()
    )
    return {
        name: each if isinstance(each, str) else replace(each, layout=layout) for name, each in found.items()
    }


def _moved(flow: DataFlow, block: ResidualBlock) -> dict[str, Shortcut | str] | str:
    """The changes by which an earlier convolution gets the block's shortcut, or why none does."""
    if len(block.sites) == 1:
        return "it is the only convolution between its input and a sum with that input"
    if not block.is_binarized:
        return "that of its residual block, which also has convolutions in full precision"
    shape = spec(block.sum)
    ends = [_end(flow, site, block) for site in block.sites]
    fitting = (index for index, end in enumerate(ends[:-1]) if spec(end) == shape)
    first = next(fitting, None)
    if first is None:
        return "that of its residual block, which does not fit an earlier convolution"
    why = _why_fixed(flow, block, ends[first])
    if why is not None:
        return f"that of its residual block, which cannot end earlier: {why}"
    text = "the shortcut of its residual block"
    taker = Shortcut(block.sites[first], text, place=Place.OF_BLOCK, end=ends[first], block=block)
    before = {site.name: _own(flow, site, block) for site in block.sites[:first]}
    between = {site.name: _own(flow, site, block) for site in block.sites[first + 1 : -1]}
    last = _own(flow, block.sites[-1], block, at_sum=True)
    reasons = [each for each in (*between.values(), last) if isinstance(each, str)]
    if reasons or isinstance(last, str):
        return f"that of its residual block, as a later convolution cannot have one of its own: {reasons[0]}"
    return {**before, taker.site.name: taker, **between, last.site.name: last}


def _why_fixed(flow: DataFlow, block: ResidualBlock, end: fx.Node) -> str | None:
    """Why the shortcut of `block` cannot end at `end`, earlier than before; None if it can."""
    if has_factor(block.sum):
        return "its sum has a factor, or is a difference"
    if end in ancestors(block.shortcut_value):
        return "the shortcut is computed from the branch"
    before = ancestors(block.shortcut_value)  # which run earlier as well
    for value, moved in ((block.fork, set()), (block.shortcut_value, before)):
        begin = min(value, end, key=flow.position.__getitem__)
        if flow.overwritten_between(value, begin, block.sum, but_by=moved):
            return "it is overwritten on the way"
    if works_in_place(flow.owner, block.sum) and flow.is_read_after(block.sum.all_input_nodes[0], block.sum):
        return "the sum works in place, and its operand is read later"
    return None


def _own(
    flow: DataFlow, site: CallSite, block: ResidualBlock | None = None, *, at_sum: bool = False
) -> Shortcut | str:
    """A shortcut from the input of `site`, or why there is none."""
    end, source = _end(flow, site, block), _source(flow, site, block)
    x, y = spec(source), spec(site.node)
    if x is None or y is None or len(x.shape) < 3:
        return "the shapes of its input and output are not known"
    if end is site.node and not at_sum and is_returned(end):
        return "its output is what the graph returns, and what follows is not known"
    if conv_settings(site).kernel == (1, 1) and _is_pooled(flow, source):
        return "its input is a picture pooled to one pixel, as in a gate of channels or a classifier"
    layers = shortcut_layers(site, x, y)
    if isinstance(layers, str):
        return layers
    # With a BatchNorm of its own there, the original needs more than one picture as well.
    if layers.channels and is_one_pixel(y) and not isinstance(called(flow.owner, end), _BATCH_NORMS):
        return f"its shortcut would need a BatchNorm, {WHY}"
    if at_sum and block is not None and spec(block.sum) != y:
        return "the sum of the block has another shape than its output"
    last = end if not at_sum or block is None else block.sum
    writer = flow.overwritten_between(source, min(source, site.node, key=flow.position.__getitem__), last)
    if writer is not None:
        return f"its input is overwritten by {writer.name}, which works in place"
    place = Place.AT_SUM if at_sum else Place.OWN
    return Shortcut(site, layers.text, "", place, layers, end, source, block)


def _end(flow: DataFlow, site: CallSite, block: ResidualBlock | None) -> fx.Node:
    """What a shortcut around `site` is added to: the output of its norm, or its own."""
    end = site.node
    if block is not None and block.is_pre_activated(flow):
        return end
    while True:
        following = only_reader(end)
        if following is None or not is_norm_in(flow, following) or spec(following) != spec(end):
            return end
        end = following


def _is_pooled(flow: DataFlow, x: fx.Node) -> bool:
    """Whether `x` is computed from a larger picture that something else than a convolution made one pixel."""
    node: fx.Node | None = x
    while node is not None and (found := spec(node)) is not None and found.shape[-2:] == (1, 1):
        x, node = node, flow.main_input(node)
    return node is not None and x is not node and not is_call_site(x)


def _source(flow: DataFlow, site: CallSite, block: ResidualBlock | None) -> fx.Node:
    """Where a shortcut around `site` begins: at its input, or in front of the norm before that."""
    if block is None or not block.is_pre_activated(flow):
        return site.x
    norm = flow.back(site.x, lambda node: is_activation(flow.owner, node) or is_dropout(flow.owner, node))
    before = flow.main_input(norm) if is_norm_in(flow, norm) and norm in block.branch else None
    return before or site.x


def _add(graph: fx.Graph, change: Shortcut, path: str, sums: dict[fx.Node, fx.Node]) -> None:
    """Carry out `change`. `sums` has the new sum for each node that has become its operand."""
    assert change.end is not None
    if change.place is Place.OF_BLOCK:
        block = change.block
        assert block is not None
        shortcut = sums.get(block.shortcut_value, block.shortcut_value)
        _move_after(graph, change.end, shortcut)
        _sum_behind(graph, change, shortcut, path, sums)
        return
    assert change.source is not None
    source = sums.get(change.source, change.source)
    if change.place is Place.OWN:
        _sum_behind(graph, change, source, path, sums)
        return
    assert change.block is not None
    before, value = change.block.sum, change.block.branch[-1]
    with graph.inserting_before(before):
        total = add_shortcut(graph, change.site, (sums.get(value, value), source), change.layers, path)
    total.meta = dict(before.meta)
    before.replace_all_uses_with(total)
    graph.erase_node(before)
    sums[before] = total


def _sum_behind(
    graph: fx.Graph, change: Shortcut, source: fx.Node, path: str, sums: dict[fx.Node, fx.Node]
) -> None:
    """Add `source` to the end of `change`, for all that read it."""
    end = change.end
    assert end is not None
    before = [*end.users]
    with graph.inserting_before(_following(graph, {end, source})):
        total = add_shortcut(graph, change.site, (end, source), change.layers, path)
    for user in before:
        user.replace_input_with(end, total)
    sums[end] = total


def _following(graph: fx.Graph, nodes: set[fx.Node]) -> fx.Node:
    """The node after the last one of `nodes`."""
    *_, last = (node for node in graph.nodes if node in nodes)
    following: fx.Node = last.next
    return following


def _move_after(graph: fx.Graph, end: fx.Node, value: fx.Node) -> None:
    """Let all that `value` is computed from run directly after `end`, if it does not run earlier."""
    nodes, needed, place = list(graph.nodes), ancestors(value), end.next
    for node in nodes[nodes.index(end) + 1 :]:
        if node in needed:
            place.prepend(node)
