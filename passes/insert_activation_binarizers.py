"""Binarizes the input activations of the selected conv2d call sites."""

from dataclasses import dataclass
from typing import ClassVar

from torch import fx, nn
from typing_extensions import override

from fxbin.binarizers import ActivationBinarizer, make_activation_binarizer
from fxbin.binarizers.conv2d import conv2d
from fxbin.binarizers.part_trial import try_activation_parts
from fxbin.binarizers.parts import activation_levels
from fxbin.binarizers.registry import activations_are_composed
from fxbin.config import Activations, Params
from fxbin.graph.attribute import submodule_at
from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.node_info import is_inlined_padding
from fxbin.graph.record import TensorSpec, spec_of
from fxbin.passes.base import Pass
from fxbin.passes.describe import describe
from fxbin.passes.submodules import add_beside


@dataclass(frozen=True)
class InsertActivationBinarizers(Pass):
    """Insert an activation binarizer before each selected conv2d call site.

        before:  x -> conv2d
        after:   x -> conv.activation_binarizer -> conv2d

    Each call site has its own binarizer, because threshold and scale are learned per call site, even if two
    call sites share a weight. The padding that a module does itself comes after the binarizer, so that zeros
    stay zeros. The convolution becomes that of `fxbin.binarizers`, which does not keep the two-level tensors
    for its backward.
    """

    name: ClassVar[str] = "insert-activation-binarizers"
    mode: str
    params: Params
    lr_multiplier: float | None = None
    parts: Activations | None = None

    @override
    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        chosen = [site for site in call_sites(owner, graph) if _is_pending(site)]
        try_activation_parts(self.params, self.parts, map(_shape, filter(_is_new, chosen)))
        for site in chosen:
            self._insert(graph, site)
        return bool(chosen)

    def _insert(self, graph: fx.Graph, site: CallSite) -> None:
        owner, decision = site.owner, site.selected
        assert decision is not None
        user, x = _raw_input(site)
        # The channel axis is -3: a conv2d also takes (c, h, w).
        add_beside(owner, decision.activation, lambda: self._binarizer(site, _shape(site)[-3]))
        with graph.inserting_before(user):
            binarized = graph.call_module(decision.activation, (x,))
        describe(binarized, spec_of(x), site.info.beside("activation_binarizer"))
        user.replace_input_with(x, binarized)
        site.node.target = conv2d

    def _binarizer(self, site: CallSite, channels: int) -> ActivationBinarizer:
        binarizer = make_activation_binarizer(self.mode, channels, self.params, self.parts)
        binarizer.name = site.name
        binarizer.lr_multiplier = self.lr_multiplier
        # The parameters of fxbin's own levels tell them apart.
        rule = binarizer.rule
        own = "" if activation_levels.is_built_in(rule) else activation_levels.text_of(rule)
        if own or not activations_are_composed(self.mode):
            binarizer.keep_mode(self.mode, own)
        else:
            binarizer.mode_key = ""
        return binarizer


def _raw_input(site: CallSite) -> tuple[fx.Node, fx.Node]:
    """The node that takes the raw activations, the conv2d or its padding, and the node of the activations."""
    if is_inlined_padding(site.x):
        return site.x, site.x.all_input_nodes[0]
    return site.node, site.x


def _shape(site: CallSite) -> tuple[int, ...]:
    """The shape of the raw activations."""
    spec = spec_of(_raw_input(site)[1])
    assert isinstance(spec, TensorSpec)
    return spec.shape


def _is_new(site: CallSite) -> bool:
    """Whether no graph of another mode has the binarizer already."""
    return site.selected is not None and submodule_at(site.owner, site.selected.activation) is None


def _is_pending(site: CallSite) -> bool:
    decision = site.selected
    if decision is None:
        return False
    _, x = _raw_input(site)
    return not (x.op == "call_module" and x.target == decision.activation)
