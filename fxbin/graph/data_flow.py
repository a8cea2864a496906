"""Follows values through a graph: who reads a node, what it depends on, what may change it on the way."""

from collections.abc import Callable, Container
from typing import Any

from torch import fx, nn

from fxbin.graph.layer_kinds import may_return_its_input
from fxbin.graph.record import TensorSpec, spec_of
from fxbin.graph.writes import works_in_place

_FACTS = ("getattr", "size", "dim", "numel", "ndimension")
"""Names of operators that read facts about a tensor, and not what is in it."""


class DataFlow:
    """The values of one graph at one time; not valid after the graph has changed."""

    def __init__(self, owner: nn.Module, graph: fx.Graph) -> None:
        self.owner = owner
        self.nodes: list[fx.Node] = list(graph.nodes)
        self.position = {node: index for index, node in enumerate(self.nodes)}
        self._of_input: set[fx.Node] = set()
        for node in self.nodes:
            if node.op == "placeholder" or not self._of_input.isdisjoint(node.all_input_nodes):
                self._of_input.add(node)

    def data_inputs(self, node: fx.Node) -> list[fx.Node]:
        """The operands of `node` that depend on the input of the graph; parameters do not."""
        return [source for source in node.all_input_nodes if source in self._of_input]

    def main_input(self, node: fx.Node) -> fx.Node | None:
        """The operand from which `node` and its other operands are computed; None if there is none.

        That of ``x * gate(x)`` is x.
        """
        inputs = self.data_inputs(node)
        if len(inputs) < 2:
            return inputs[0] if inputs else None
        first = min(inputs, key=self.position.__getitem__)
        others = (source for source in inputs if source is not first)
        return first if all(first in ancestors(source) for source in others) else None

    def back(self, node: fx.Node, is_passed: Callable[[fx.Node], bool]) -> fx.Node:
        """The first node from `node` backwards, along its main inputs, that is not passed."""
        while is_passed(node) and (source := self.main_input(node)) is not None:
            node = source
        return node

    def overwritten_between(
        self, value: fx.Node, first: fx.Node, last: fx.Node, but_by: Container[fx.Node] = ()
    ) -> fx.Node | None:
        """The node after `first` and before `last` that may write into the tensor `value`; None if none.

        Nodes in `but_by` do not count.
        """
        between = self.nodes[self.position[first] + 1 : self.position[last]]
        for node in between:
            if (
                node not in but_by
                and works_in_place(self.owner, node)
                and node.all_input_nodes
                and self._may_be(node, value)
            ):
                return node
        return None

    def is_read_after(self, value: fx.Node, place: fx.Node) -> bool:
        """Whether a node after `place` may read the memory of `value` other than through `place`."""
        before, origin = self.nodes[: self.position[place]], self._origin(value)
        same = [node for node in before if self._origin(node) is origin]
        return any(self.position[user] > self.position[place] for node in same for user in readers(node))

    def _may_be(self, writer: fx.Node, value: fx.Node) -> bool:
        """Whether `writer` may write into the memory of `value`."""
        return self._origin(writer.all_input_nodes[0]) is self._origin(value)

    def _origin(self, node: fx.Node) -> fx.Node:
        """The node that has made the memory in which `node` is."""
        while node.all_input_nodes and may_return_its_input(self.owner, node):
            node = node.all_input_nodes[0]
        return node


def readers(node: fx.Node) -> list[fx.Node]:
    """The nodes that read what is in the tensor `node`; those that read its shape do not count."""
    return [user for user in node.users if not _reads_facts(user)]


def only_reader(node: fx.Node) -> fx.Node | None:
    """The reader of `node`, if there is only one."""
    found = readers(node)
    return found[0] if len(found) == 1 else None


def is_returned(node: fx.Node) -> bool:
    """Whether `node` is an output of the graph, or in one."""
    return any(user.op == "output" for user in node.users)


def spec(node: fx.Node) -> TensorSpec | None:
    """Shape and dtype of `node` for the example inputs; None if it is no tensor."""
    found = spec_of(node)
    return found if isinstance(found, TensorSpec) else None


def ancestors(node: fx.Node) -> set[fx.Node]:
    """`node` and all nodes that it is computed from."""
    found, pending = {node}, [node]
    while pending:
        new = [source for source in pending.pop().all_input_nodes if source not in found]
        found.update(new)
        pending += new
    return found


def _reads_facts(node: fx.Node) -> bool:
    if node.op == "output" or _has_tensor(spec_of(node)):
        return False
    target: Any = node.target
    return (target if isinstance(target, str) else getattr(target, "__name__", "")) in _FACTS


def _has_tensor(found: Any) -> bool:
    if isinstance(found, TensorSpec):
        return True
    inside = found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else ()
    return any(map(_has_tensor, inside))
