"""The base class of the passes that put an activation behind the sums of binarized convolutions."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx, nn
from typing_extensions import override

from fxbin.added import AddedLayer
from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.data_flow import DataFlow, is_returned, only_reader, readers, spec
from fxbin.graph.layer_kinds import has_hooks, is_activation, is_idle, is_relu
from fxbin.graph.residual_block import residual_blocks
from fxbin.graph.sums import is_sum
from fxbin.graph.writes import works_in_place
from fxbin.passes.describe import describe
from fxbin.passes.rewrite import Change, Found, Rewrite
from fxbin.passes.submodules import add_beside


@dataclass(frozen=True)
class Activation(Change):
    """An activation to be inserted behind a sum."""

    value: fx.Node | None = None
    """What it is applied to: the sum."""

    relu: fx.Node | None = None
    """The ReLU that it replaces, if there is one."""


class InsertActivation(Rewrite[Activation]):
    """Apply an activation to the sum behind each binarized convolution, in place of a ReLU if one follows.

        before:  conv -> norm -> + -> relu -> y
        after:   conv -> norm -> + -> conv.activation -> y

    A ReLU elsewhere stays: one between the convolution and the sum, and one behind a norm behind the sum.
    """

    @abstractmethod
    def new_layer(self, channels: int, *, batched: bool) -> AddedLayer:
        """The activation for ``(n, channels, h, w)``, or ``(channels, h, w)`` if not `batched`."""

    @override
    def find(self, graph: fx.Graph, owner: nn.Module) -> Found[Activation]:
        flow = DataFlow(owner, graph)
        blocks = residual_blocks(flow, graph)
        # Where several convolutions come before one sum, it belongs to the last.
        sums = {block.sites[-1].node: block.sum for block in blocks}
        sites = (site for site in call_sites(owner, graph) if site.selected is not None)
        return {site.name: _behind(flow, site, sums.get(site.node)) for site in sites}

    @override
    def carry_out(self, graph: fx.Graph, owner: nn.Module, changes: Sequence[tuple[Activation, str]]) -> None:
        for change, path in changes:
            self._insert(graph, owner, change, path)

    def _insert(self, graph: fx.Graph, owner: nn.Module, change: Activation, path: str) -> None:
        value, relu = change.value, change.relu
        assert value is not None
        found = spec(value)
        assert found is not None
        add_beside(owner, path, lambda: self.new_layer(found.shape[-3], batched=len(found.shape) > 3))
        changed = [*value.users] if relu is None or works_in_place(owner, relu) else []
        with graph.inserting_after(value):
            y = graph.call_module(path, (value,))
        describe(y, found, change.site.info.beside(self.layer))
        order = {node: index for index, node in enumerate(graph.nodes)}
        for user in changed:
            # What reads the operand of a ReLU that works in place reads its result.
            if relu is None or order[user] > order[relu]:
                user.replace_input_with(value, y)
        if relu is not None:
            relu.replace_all_uses_with(y)
            graph.erase_node(relu)


def _behind(flow: DataFlow, site: CallSite, total: fx.Node | None) -> Activation | str:
    """The activation behind the sum `total` of `site`, or why there is none."""
    if total is None:
        return f"no sum with a shortcut follows it{_about_shortcuts(site)}"
    owner, value = flow.owner, total
    x, y = spec(total), spec(site.node)
    if x is None or y is None or x.shape[:-2] != y.shape[:-2]:
        return "its sum has other channels than the convolution"
    while (following := only_reader(value)) is not None and is_idle(owner, following):
        value = following
    following = only_reader(value)
    if following is not None and is_sum(following):
        return "its sum goes into another sum alone"
    if is_returned(value):
        return "its sum is what the graph returns, and what follows is not known"
    return _at(flow, site, total, value)


def _about_shortcuts(site: CallSite) -> str:
    decision = site.info.decision
    is_tried = decision is not None and decision.rewrite("shortcuts") is not None
    return ', and "shortcuts" has added none' if is_tried else ': the rewrite "shortcuts" may add one'


def _at(flow: DataFlow, site: CallSite, total: fx.Node, value: fx.Node) -> Activation | str:
    """As `_behind`; `value` is `total`, behind layers that do nothing."""
    owner = flow.owner
    activations = [node for node in readers(value) if is_activation(owner, node)]
    others = [node for node in activations if not is_relu(owner, node)]
    if others:
        return f"its sum goes into {others[0].name}, an activation other than ReLU"
    if len(activations) > 1:
        return "its sum goes into several ReLUs"
    if not activations:
        return Activation(site, "behind the sum", "", total)
    (relu,) = activations
    written = value.all_input_nodes[0] if works_in_place(owner, value) else None
    if written is not None and works_in_place(owner, relu) and flow.is_read_after(written, value):
        return "its ReLU works in place, and what it overwrites is read later by another name"
    if has_hooks(owner, relu):
        return f"{relu.target} has hooks, which run around the ReLU"
    return Activation(site, "in place of the ReLU", "", value, relu)
