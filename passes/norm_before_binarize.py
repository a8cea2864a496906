"""Puts a norm directly in front of each activation binarizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import fx, nn
from typing_extensions import override

from fxbin.added import AddedNorm
from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.data_flow import DataFlow, only_reader, spec
from fxbin.graph.layer_kinds import has_hooks, is_idle, is_relu
from fxbin.graph.residual_block import is_norm_in
from fxbin.passes.describe import describe
from fxbin.passes.one_pixel import WHY, is_one_pixel
from fxbin.passes.rewrite import Change, Found, Rewrite
from fxbin.passes.submodules import add_beside


@dataclass(frozen=True)
class NormInFront(Change):
    """What the input of one convolution becomes."""

    norm: fx.Node | None = None
    """The norm in front of the ReLU that is dropped; None if a norm is added."""

    @property
    @override
    def adds_layer(self) -> bool:
        return self.norm is None


@dataclass(frozen=True)
class NormBeforeBinarize(Rewrite[NormInFront]):
    """Let each binarized convolution read what a norm returns, whose channels are centred.

        before:  norm -> relu -> conv
        after:   norm -> conv, if nothing else reads the ReLU

        before:  x -> conv
        after:   x -> conv.input.norm (a new BatchNorm) -> conv

    Source: Rastegari et al. 2016, XNOR-Net, arXiv:1603.05279, section 3.2 (BatchNorm, binarize, convolve);
    for residual networks, Martinez et al. 2020, arXiv:2003.11535.
    """

    name: ClassVar[str] = "norm-before-binarize"
    key: ClassVar[str] = "norm_before_binarize"
    layer: ClassVar[str] = "input"

    @override
    def find(self, graph: fx.Graph, owner: nn.Module) -> Found[NormInFront]:
        flow = DataFlow(owner, graph)
        sites = (site for site in call_sites(owner, graph) if site.selected is not None)
        return {site.name: _in_front(flow, site) for site in sites}

    @override
    def carry_out(
        self, graph: fx.Graph, owner: nn.Module, changes: Sequence[tuple[NormInFront, str]]
    ) -> None:
        for change, path in changes:
            _rewrite(graph, owner, change, path)


def _in_front(flow: DataFlow, site: CallSite) -> NormInFront | str:
    """The norm in front of `site`, or why nothing changes."""
    x = flow.back(site.x, lambda node: is_idle(flow.owner, node))
    if is_norm_in(flow, x):
        return "its input is the output of a norm"
    norm = flow.main_input(x) if is_relu(flow.owner, x) and not has_hooks(flow.owner, x) else None
    is_between = norm is not None and only_reader(x) is not None and only_reader(norm) is x and x is site.x
    if norm is not None and is_between and is_norm_in(flow, norm):
        return NormInFront(site, "the ReLU in front is dropped", "", norm)
    found = spec(site.x)
    if found is None or len(found.shape) != 4:
        return "its input has no batch axis"
    if is_one_pixel(found):
        return f"its input would need a BatchNorm, {WHY}"
    return NormInFront(site, "BatchNorm in front")


def _rewrite(graph: fx.Graph, owner: nn.Module, change: NormInFront, path: str) -> None:
    site = change.site
    x, found = site.x, spec(site.x)
    assert found is not None
    if change.norm is not None:
        x.replace_all_uses_with(change.norm)
        graph.erase_node(x)
        return
    add_beside(owner, path, lambda: AddedNorm(found.shape[-3]))
    with graph.inserting_before(site.node):
        normed = graph.call_module(f"{path}.norm", (x,))
    describe(normed, found, site.info.beside("input_norm"))
    site.node.replace_input_with(x, normed)
