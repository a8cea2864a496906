"""The base class of the passes of `compression.rewrites`, which change a network around its convolutions."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any, ClassVar, Generic, TypeVar

from torch import fx, nn
from typing_extensions import override

from fxbin.errors import TransformError
from fxbin.errors.messages import listed
from fxbin.graph.attribute import attribute
from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.node_info import SiteRewrite, mark_rewritten, rewrites_of, set_decision
from fxbin.passes.base import Pass

OUTSIDE = "no graph runs the code around it (see summary(model).islands)"


_ABSENT = "the rewrite is not about it in this graph"


@dataclass(frozen=True)
class Change:
    """What a rewrite can change at one call site of one graph."""

    site: CallSite
    """The call site."""

    text: str
    """What it is, for users: ``"average pooling"``."""

    layout: str = ""
    """What it is, with all that has to be the same in the graphs of all modes, beside `text`."""

    @property
    def adds_layer(self) -> bool:
        """Whether it adds a layer with parameters."""
        return True


AnyChange = TypeVar("AnyChange", bound=Change)
Found = Mapping[str, AnyChange | str]
"""By name of a call site: the change there, or why there is none."""


@dataclass(frozen=True)
class Rewrite(Pass, Generic[AnyChange]):
    """A pass that changes the network around call sites, as the decisions about these say.

    `decide` looks at the graphs of all modes before any of them changes, because the same has to be done in
    all of them. `apply` does it, also in graphs that are traced later.
    """

    key: ClassVar[str]
    """Its name in `compression.rewrites`."""

    layer: ClassVar[str] = ""
    """Name of the layer that it adds beside a convolution; empty if it adds none."""

    is_of_preset: bool = False
    """Whether a preset names it, which is for all kinds of networks: some have nothing that it is about."""

    @abstractmethod
    def find(self, graph: fx.Graph, owner: nn.Module) -> Found[AnyChange]:
        """What can be changed at each call site of `graph` that the rewrite is about, or why nothing can."""

    @abstractmethod
    def carry_out(self, graph: fx.Graph, owner: nn.Module, changes: Sequence[tuple[AnyChange, str]]) -> None:
        """Change `graph`. `changes` have the qualified name of the layer to add, and are in its order."""

    def decide(self, graphs: Sequence[fx.Graph], owner: nn.Module, shown: fx.Graph | None = None) -> None:
        """Attach to the call sites of `graphs`, those of all modes, what the rewrite does there.

        `shown` is a graph that does not run: its call sites get the decisions of the same ones in `graphs`.
        """
        outcomes: dict[str, list[AnyChange | str]] = {}
        sites = [site for graph in graphs for site in call_sites(owner, graph)]
        for found, graph in [(self.find(graph, owner), graph) for graph in graphs]:
            for site in (site for site in sites if site.node.graph is graph):
                outcomes.setdefault(site.name, []).append(found.get(site.name, _ABSENT))
        agreed = {name: _agreed(each) for name, each in outcomes.items() if {*each} != {_ABSENT}}
        decided = dict(self._recorded(owner, agreed))
        for site in sites:
            if site.name in decided:
                _add(site, decided[site.name])
        outside = SiteRewrite(self.key, "", OUTSIDE)
        for site in call_sites(owner, shown) if shown is not None else ():
            _add(site, decided.get(site.info.name_in_part or site.name, outside))
            mark_rewritten(site.node, self.key)
        self._warn_if_idle(decided)

    @override
    def apply(self, graph: fx.Graph, owner: nn.Module) -> bool:
        sites = call_sites(owner, graph)
        pending = {site.name: decided for site in sites if (decided := self._pending(site)) is not None}
        if not pending:
            return False
        found = self.find(graph, owner)
        changes: list[tuple[Any, str]] = []
        for name, expected in pending.items():
            change = found.get(name, "it is not there")
            if isinstance(change, str) or (change.text, change.layout) != (expected.change, expected.layout):
                raise TransformError(self._differs(name, expected, change))
            changes.append((change, expected.layer))
        self.carry_out(graph, owner, changes)
        for change, _ in changes:
            mark_rewritten(change.site.node, self.key)
        return True

    def _pending(self, site: CallSite) -> SiteRewrite | None:
        decision = site.info.decision
        decided = None if decision is None else decision.rewrite(self.key)
        is_pending = decided is not None and decided.change and self.key not in rewrites_of(site.node)
        return decided if is_pending else None

    def _recorded(
        self, owner: nn.Module, agreed: Mapping[str, AnyChange | str]
    ) -> Iterator[tuple[str, SiteRewrite]]:
        """Yield what is decided at each call site, with a name for the layer that is added."""
        taken: set[str] = set()
        for name, change in agreed.items():
            if isinstance(change, str):
                yield name, SiteRewrite(self.key, "", change)
                continue
            layer = ""
            if self.layer and change.adds_layer:
                layer = _free_path(owner, change.site.info.owner, self.layer, taken)
                taken.add(layer)
            yield name, SiteRewrite(self.key, change.text, "", layer, change.layout)

    def _warn_if_idle(self, decided: Mapping[str, SiteRewrite]) -> None:
        if any(found.change for found in decided.values()):
            return
        if self.is_of_preset and not decided:
            return
        reasons = [*dict.fromkeys(found.reason for found in decided.values())]
        why = listed(reasons) if reasons else "the model has no layers that it is about"
        remove = "Name the other rewrites of the preset" if self.is_of_preset else "Remove it"
        see = ", or see fxbin.summary(model) for each call site" if decided else ""
        warnings.warn(
            f'compression.rewrites: "{self.key}" has changed nothing: {why}. {remove}{see}', stacklevel=2
        )

    def _differs(self, name: str, decided: SiteRewrite, found: Change | str) -> str:
        now = found if isinstance(found, str) else found.text
        return (
            f'compression.rewrites: "{self.key}" has changed {name!r} in the transform ({decided.change}), '
            f"and cannot do the same in the present modes or dtypes of the model ({now}): put the layers "
            f'around it back into the modes that they had, or transform without "{self.key}"'
        )


def _agreed(outcomes: Sequence[AnyChange | str]) -> AnyChange | str:
    """The change that all graphs allow alike; otherwise the reason for none."""
    first = outcomes[0]
    reason = next((each for each in outcomes if isinstance(each, str) and each != _ABSENT), None)
    if reason is not None:
        return reason
    if len({each if isinstance(each, str) else (each.text, each.layout) for each in outcomes}) > 1:
        return "the layers around it are not the same in train and eval mode, or in two example calls"
    return first


def _add(site: CallSite, found: SiteRewrite) -> None:
    decision = site.info.decision
    if decision is not None and decision.rewrite(found.rewrite) is None:
        set_decision(site.node, replace(decision, rewrites=(*decision.rewrites, found)))


def _free_path(owner: nn.Module, parent: str, name: str, taken: set[str]) -> str:
    """A qualified name at which nothing is, for a layer `name` in the module at `parent`."""
    lead = f"{parent}." if parent else ""
    numbered = (f"{lead}{name}{suffix}" for suffix in chain([""], (f"_{i}" for i in count(1))))
    return next(path for path in numbered if path not in taken and not _exists(owner, path))


def _exists(owner: nn.Module, path: str) -> bool:
    try:
        attribute(owner, path)
    except AttributeError:
        return False
    return True
