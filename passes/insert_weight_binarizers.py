"""Binarizes the weights of the selected conv2d call sites."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import fx, nn
from typing_extensions import override

from fxbin.binarizers import WeightBinarizer, make_weight_binarizer
from fxbin.binarizers.part_trial import try_weight_parts
from fxbin.config import Params, Weights
from fxbin.graph.attribute import attribute, submodule_at
from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.record import TensorSpec, spec_of
from fxbin.passes.base import Pass
from fxbin.passes.describe import describe
from fxbin.passes.submodules import add_beside


@dataclass(frozen=True)
class InsertWeightBinarizers(Pass):
    """Insert a binarizer between each selected conv2d and its weight.

        before:  conv2d <- conv.weight
        after:   conv2d <- conv.weight_binarizer <- conv.weight

    Call sites that share a weight share its binarizer, and so do the graphs of train and eval mode.
    """

    name: ClassVar[str] = "insert-weight-binarizers"
    mode: str
    params: Params
    parts: Weights | None = None

    @override
    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        sites = [*call_sites(owner, graph)]
        chosen = [site for site in sites if _is_pending(site)]
        new = filter(_is_new, chosen)
        try_weight_parts(self.mode, self.params, self.parts, (_shape(site.owner, site.w) for site in new))
        rewrites = _rewrites(sites)
        for site in chosen:
            self._insert(graph, site, rewrites)
        return bool(chosen)

    def _insert(self, graph: fx.Graph, site: CallSite, rewrites: Collection[str]) -> None:
        owner, decision, weight = site.owner, site.selected, site.w
        assert decision is not None
        add_beside(owner, decision.weight, lambda: self._binarizer(site, rewrites))
        with graph.inserting_before(site.node):
            binarized = graph.call_module(decision.weight, (weight,))
        describe(binarized, spec_of(weight), site.info.beside("weight_binarizer"))
        site.node.replace_input_with(weight, binarized)

    def _binarizer(self, site: CallSite, rewrites: Collection[str]) -> WeightBinarizer:
        binarizer = make_weight_binarizer(self.mode, _shape(site.owner, site.w), self.params, self.parts)
        binarizer.name = site.weight_path or site.name
        binarizer.keep_mode(self.mode, binarizer.variant, *rewrites)
        return binarizer


def _rewrites(sites: Iterable[CallSite]) -> list[str]:
    """Names of the rewrites that have changed something at `sites`."""
    decisions = (site.info.decision for site in sites)
    return sorted({name for decision in decisions if decision is not None for name in decision.changes})


def _is_new(site: CallSite) -> bool:
    """Whether no graph of another mode has the binarizer already."""
    return site.selected is not None and submodule_at(site.owner, site.selected.weight) is None


def _is_pending(site: CallSite) -> bool:
    decision = site.selected
    return decision is not None and not (site.w.op == "call_module" and site.w.target == decision.weight)


def _shape(owner: nn.Module, weight: fx.Node) -> tuple[int, ...]:
    if weight.op == "get_attr":
        return tuple(attribute(owner, str(weight.target)).shape)
    spec = spec_of(weight)
    assert isinstance(spec, TensorSpec)
    return spec.shape
