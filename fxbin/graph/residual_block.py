"""Finds residual blocks: sums of what a branch with convolutions computes and a shortcut around it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import fx

from fxbin.graph.call_site import CallSite, call_sites
from fxbin.graph.data_flow import DataFlow, ancestors, spec
from fxbin.graph.layer_kinds import is_norm
from fxbin.graph.sums import is_sum, operands


@dataclass(frozen=True)
class ResidualBlock:
    """One residual block.

    From its fork, a branch with convolutions leads to the sum, and a shortcut with none or fewer.
    """

    sum: fx.Node
    """The node that adds the branch and the shortcut, or subtracts one from the other."""

    fork: fx.Node
    """The node with which both begin."""

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
    forks: dict[fx.Node, fx.Node] = {}
    for node in filter(is_sum, flow.nodes):
        ways = _ways(flow, node, forks)
        if ways is None:
            continue
        forks[node] = ways[0]
        block = _block_of(node, *ways, sites)
        if block is not None and taken.isdisjoint(site.node for site in block.sites):
            taken.update(site.node for site in block.sites)
            found.append(block)
    return found


def is_norm_in(flow: DataFlow, node: fx.Node) -> bool:
    """Whether `node` of the graph of `flow` normalizes."""
    return is_norm(flow.owner, node, lambda operand: operand not in flow.data_inputs(node))


Way = tuple[fx.Node, ...]


def _block_of(
    total: fx.Node, fork: fx.Node, first: Way, second: Way, sites: dict[fx.Node, CallSite]
) -> ResidualBlock | None:
    # If both are alike, the one whose convolutions are in a block of its own is the shortcut.
    weights = {
        way: (_weight(fork, way, sites), any(node in sites for node in way)) for way in (first, second)
    }
    shortcut, branch = sorted((first, second), key=weights.__getitem__)
    of_branch = tuple(sites[node] for node in branch if node in sites)
    if not all(_is_alike(total, site.node) for site in of_branch):
        return None  # a sum of something else than pictures, such as tokens
    if not of_branch or weights[shortcut] == weights[branch]:
        return None  # two branches, or none
    return ResidualBlock(total, fork, branch, shortcut, of_branch)


def _is_alike(total: fx.Node, conv: fx.Node) -> bool:
    """Whether `total` has as many axes as the output of `conv`."""
    x, y = spec(total), spec(conv)
    return x is not None and y is not None and len(x.shape) == len(y.shape)


def _weight(fork: fx.Node, way: Way, sites: dict[fx.Node, CallSite]) -> tuple[int, int]:
    """The number of binarized convolutions that the end of `way` depends on after `fork`, and of all."""
    inside = ancestors(way[-1]) - ancestors(fork) if way else set[fx.Node]()
    found = [sites[node] for node in inside if node in sites]
    return sum(site.selected is not None for site in found), len(found)


def _ways(
    flow: DataFlow, total: fx.Node, forks: Mapping[fx.Node, fx.Node]
) -> tuple[fx.Node, Way, Way] | None:
    """The node from which both operands of `total` are computed, and the nodes after it; None if none is.

    `forks` has that node for earlier sums.
    """
    both = operands(total)
    assert both is not None
    first, second = both
    to_first = [*_upwards(flow, first, ancestors(second), forks)]
    to_second = [*_upwards(flow, second, ancestors(first), forks)]
    fork = to_first.pop()
    if fork is None or fork is not to_second.pop():
        return None
    ways = [tuple(node for node in reversed(way) if node is not None) for way in (to_first, to_second)]
    return fork, ways[0], ways[1]


def _upwards(
    flow: DataFlow, node: fx.Node, until: set[fx.Node], forks: Mapping[fx.Node, fx.Node]
) -> Iterator[fx.Node | None]:
    """Yield the nodes from `node` along main inputs, last one in `until`, or None if none is."""
    found: fx.Node | None = node
    while found is not None and found not in until:
        yield found
        found = forks.get(found) or flow.main_input(found)
    yield found
