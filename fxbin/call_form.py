"""Which calls a graph is good for, by the values of their arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from fxbin.onlookers import is_proxy
from fxbin.tracing.guards import check_given, check_specialised


@dataclass(frozen=True)
class Argument:
    """What one argument must be, as the code was followed with it."""

    position: int
    name: str
    default: Any
    """``...`` if it has none."""

    value: Any
    """None, a number, a flag or text."""

    is_given: bool
    """Whether it must be anything but None, in place of `value`."""

    def fits(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call has it."""
        is_positional = self.position < len(args)
        found = args[self.position] if is_positional else kwargs.get(self.name, self.default)
        if is_proxy(found):
            return True  # its value is known to whoever traces the graph, and so are the guards
        if self.is_given:
            return found is not None
        return type(found) is type(self.value) and bool(found == self.value)


def arguments_of(graph: fx.Graph) -> tuple[Argument, ...]:
    """What the guards of `graph` ask of arguments; of what is inside of containers they ask when it runs."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    found = []
    for node in graph.nodes:
        if node.target in (check_specialised, check_given) and node.args[0] in inputs:
            of = node.args[0]
            default = of.args[0] if of.args else ...
            is_given = node.target is check_given
            value = None if is_given else node.args[1]
            found.append(Argument(inputs.index(of), str(of.target), default, value, is_given))
    return tuple(found)
