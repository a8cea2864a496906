"""Attaches the decision about each conv2d call site to its node."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import fx, nn
from typing_extensions import override

from fxbin.graph.call_site import call_sites
from fxbin.graph.node_info import Decision, set_decision
from fxbin.passes.base import Pass

TRAIN_ONLY = Decision(binarized=False, reason="it runs in train mode only")


@dataclass(frozen=True)
class MarkCallSites(Pass):
    """Attach a decision to the node of every conv2d call site.

    Decisions are made for the graphs of eval mode, by name. A call site that exists only in train mode stays
    in full precision.
    """

    name: ClassVar[str] = "mark-call-sites"
    decisions: Mapping[str, Decision]

    @override
    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        pending = [site for site in call_sites(owner, graph) if site.info.decision is None]
        for site in pending:
            set_decision(site.node, self.decisions.get(site.name, TRAIN_ONLY))
        return bool(pending)
