"""Finds residual blocks: sums of what a branch with convolutions computes and a shortcut around it."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx

from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.data_flow import DataFlow, ancestors
from fxbin.graph.layer_kinds import is_norm, is_sum


@dataclass(frozen=True)
class ResidualBlock:
    """One residual block.

        fork -> branch, with `sites` ----------> sum
        fork -> shortcut, without or with less --^
    """

    sum: fx.Node
    """The node that adds the branch and the shortcut."""

    fork: fx.Node
    """The node that both begin with."""

    branch: tuple[fx.Node, ...]
    """The nodes from `fork`, without it, to the operand of `sum`, in order of execution."""

    shortcut: tuple[fx.Node, ...]
    """Those of the shortcut; empty if it is the identity."""

    sites: tuple[CallSite, ...]
    """The convolutions of the branch, in order of execution."""

    @property
    def shortcut_value(self) -> fx.Node:
        """The operand of `sum` that the shortcut computes."""
        return self.shortcut[-1] if self.shortcut else self.fork

    @property
    def is_binarized(self) -> bool:
        """Whether all convolutions of the branch are to be binarized."""
        return all(site.selected is not None for site in self.sites)

    def is_pre_activated(self, flow: DataFlow) -> bool:
        """Whether norms are in front of the convolutions, as in He et al. 2016, arXiv:1603.05027."""
        last = self.branch.index(self.sites[-1].node)
        norms = [i for i, node in enumerate(self.branch) if is_norm_in(flow, node)]
        return bool(norms) and norms[-1] < last


def residual_blocks(flow: DataFlow, graph: fx.Graph) -> list[ResidualBlock]:
    """The residual blocks of `graph`, in order of execution, each convolution in one of them at most."""
    sites = {site.node: site for site in call_sites(flow.owner, graph)}
    found, taken = [], set[fx.Node]()
    for node in filter(is_sum, flow.nodes):
        block = _block_of(flow, node, sites)
        if block is not None and taken.isdisjoint(site.node for site in block.sites):
            taken.update(site.node for site in block.sites)
            found.append(block)
    return found


def is_norm_in(flow: DataFlow, node: fx.Node) -> bool:
    """Whether `node` of the graph of `flow` normalizes."""
    return is_norm(flow.owner, node, lambda operand: operand not in flow.data_inputs(node))


def _block_of(flow: DataFlow, total: fx.Node, sites: dict[fx.Node, CallSite]) -> ResidualBlock | None:
    first, second = (node for node in total.args if isinstance(node, fx.Node))
    ways = _ways(flow, first, second)
    if ways is None:
        return None
    fork, *both = ways
    shortcut, branch = sorted(both, key=lambda way: _weight(way, sites))
    if _weight(shortcut, sites) == _weight(branch, sites):
        return None  # two branches, or none
    of_branch = tuple(sites[node] for node in branch if node in sites)
    return ResidualBlock(total, fork, branch, shortcut, of_branch)


def _weight(way: tuple[fx.Node, ...], sites: dict[fx.Node, CallSite]) -> tuple[int, int]:
    """The number of binarized convolutions on the way, and of all."""
    found = [sites[node] for node in way if node in sites]
    return sum(site.selected is not None for site in found), len(found)


def _ways(
    flow: DataFlow, first: fx.Node, second: fx.Node
) -> tuple[fx.Node, tuple[fx.Node, ...], tuple[fx.Node, ...]] | None:
    """The node from which `first` and `second` are computed, and the nodes after it; None if there is none."""
    to_first = [*_upwards(flow, first, ancestors(second))]
    to_second = [*_upwards(flow, second, ancestors(first))]
    fork = to_first.pop()
    if fork is None or fork is not to_second.pop():
        return None
    ways = [tuple(node for node in reversed(way) if node is not None) for way in (to_first, to_second)]
    return fork, ways[0], ways[1]


def _upwards(flow: DataFlow, node: fx.Node, until: set[fx.Node]) -> Iterator[fx.Node | None]:
    """Yield the nodes from `node` along main inputs, last one in `until`, or None if there is no way to it."""
    found: fx.Node | None = node
    while found is not None and found not in until:
        yield found
        found = flow.main_input(found)
    yield found
