"""Records the Python values that a graph relies on, because the traced code needed them."""

from typing import Any

from torch import fx, nn

from fxbin.graph.calls.guards import check_count, check_specialised, check_weights
from fxbin.graph.record import Specialisation
from fxbin.tracing.recorder.expressions import describe, is_about_dtypes, is_about_weights
from fxbin.tracing.recorder.location import user_location
from fxbin.tracing.recorder.position import Position
from fxbin.tracing.values.content import ContentError
from fxbin.tracing.values.numbers import TracedValue


class Assumptions:
    """The Python values that `graph` relies on and checks; `parameters` are the names of the root's."""

    def __init__(self, graph: fx.Graph, position: Position, parameters: frozenset[str]) -> None:
        self._graph, self._position, self._parameters = graph, position, parameters
        self.specialisations: list[Specialisation] = []
        """The values, in the order in which they were needed."""
        self.modules: list[nn.Module | None] = []
        """The module whose code needed each of `specialisations`."""
        self.asks_for_dtypes = False
        """Whether the code may do something else for another dtype of a tensor."""
        self._weight_checks: set[str] = set()

    def note(self, expression: str, value: Any) -> Specialisation | None:
        """Note that the graph relies on `expression` being `value`; None if that was known already."""
        position = self._position
        found = Specialisation(expression, value, position.path, user_location() or "unknown")
        if found in self.specialisations:
            return None
        self.specialisations.append(found)
        self.modules.append(position.module)
        return found

    def rely_on_count(self, node: fx.Node, count: int) -> None:
        """Rely on `node` giving `count` tensors, as the code may do something else with more or fewer."""
        found = self.note(f"len({node.name})", count)
        if found is not None:
            self._graph.call_function(check_count, (node, count, _in_words(found)))

    def rely_on(self, value: TracedValue) -> Any:
        """The plain value, on which the graph now relies. Raises ContentError if only a run can tell it."""
        node = value._node
        if value._of_content:
            raise ContentError(
                f"{describe(node)} is needed: it depends on the content of a tensor, which is known "
                "only when the model runs"
            )
        if is_about_weights(node, self._parameters):
            what = f"{describe(node)} in {self._position.path} ({user_location() or 'unknown'})"
            if what not in self._weight_checks:
                self._weight_checks.add(what)
                self._graph.call_function(check_weights, (node, value._value, what))
            return value._value
        self.asks_for_dtypes |= is_about_dtypes(node)
        found = self.note(describe(node), value._value)
        if found is not None and value._guarded:
            self._graph.call_function(check_specialised, (node, found.value, _in_words(found)))
        return value._value


def _in_words(found: Specialisation) -> str:
    return f"{found.expression} in {found.scope} ({found.location})"
