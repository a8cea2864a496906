"""Which calls a graph is good for, by the values of their arguments."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from fxbin.errors import TransformError
from fxbin.graph.calls.guards import check_given, check_nothing_more, check_specialised
from fxbin.onlookers import is_proxy
from fxbin.tracing import TensorSpec, spec_of

Call = tuple[tuple[Any, ...], Mapping[str, Any]]
"""Positional and keyword arguments."""

Step = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function of what was found so far, and its further arguments."""


@dataclass(frozen=True)
class Argument:
    """What one argument, or something inside of it, must be, as the code was followed with it."""

    position: int
    name: str
    """That of the parameter; ``*args`` and ``**kwargs`` with their stars."""

    default: Any
    """``...`` if it has none."""

    named: frozenset[str]
    """All parameters that have a name."""

    steps: tuple[Step, ...]
    """The way from the argument to what is looked at."""

    value: Any
    """None, a number, a flag or text."""

    is_given: bool
    """Whether it must be anything but None, in place of `value`."""

    def fits(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call has it."""
        found = self._of_call(args, kwargs)
        try:
            for function, rest in self.steps:
                found = function(found, *rest)
        except (LookupError, TypeError, AttributeError):
            return False
        if is_proxy(found):
            return True  # its value is known to whoever traces the graph, and so are the guards
        if self.is_given:
            return found is not None
        return type(found) is type(self.value) and bool(found == self.value)

    def _of_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if self.name.startswith("**"):
            return {name: value for name, value in kwargs.items() if name not in self.named}
        if self.name.startswith("*"):
            return args[self.position :]
        return args[self.position] if self.position < len(args) else kwargs.get(self.name, self.default)


def arguments_of(graph: fx.Graph) -> tuple[Argument, ...]:
    """What the guards of `graph` ask of arguments and of what containers hold.

    What they ask of shapes, they ask when the graph runs.
    """
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    named = frozenset(str(node.target) for node in inputs if not str(node.target).startswith("*"))
    found = []
    for node in graph.nodes:
        if node.target in (check_specialised, check_given, check_nothing_more):
            of, steps = _way(node.args[0])
            if of not in inputs:
                continue
            value = node.args[1] if node.target is check_specialised else None
            if node.target is check_nothing_more:
                steps, value = (*steps, (len, ())), 0
            default = of.args[0] if of.args else ...
            is_given = node.target is check_given
            argument = Argument(inputs.index(of), str(of.target), default, named, steps, value, is_given)
            found.append(argument)
    return tuple(found)


def check_distinguishable(graphs: Sequence[fx.Graph], calls: Sequence[Call]) -> None:
    """Raise TransformError if one of `graphs`, of one call each, is good for a later one of `calls`, too."""
    for index, (args, kwargs) in enumerate(calls):
        for earlier, graph in enumerate(graphs[:index]):
            if all(argument.fits(args, kwargs) for argument in arguments_of(graph)):
                first = f"other_calls[{earlier - 1}]" if earlier else "the first call"
                raise TransformError(
                    f"other_calls[{index - 1}]: the graph of {first} is taken for these arguments, too: "
                    "calls are told apart by which optional arguments they give, by numbers, flags and text, "
                    "and by what containers hold, not by shapes. Leave it out"
                )


def _way(node: fx.Node) -> tuple[fx.Node, tuple[Step, ...]]:
    """The node that `node` is found from by going into containers, and how."""
    steps: list[Step] = []
    while node.target in (operator.getitem, len, getattr):
        whole = node.args[0]
        if not isinstance(whole, fx.Node) or isinstance(spec_of(whole), TensorSpec):
            break
        steps.insert(0, (node.target, node.args[1:]))
        node = whole
    return node, tuple(steps)


def check_calls(calls: Sequence[Call]) -> None:
    """Raise TransformError if one of `calls`, given by a user, is none."""
    for index, call in enumerate(calls):
        match call:
            case (tuple(), Mapping()):
                continue
        raise TransformError(
            f"other_calls[{index}]: expected a tuple of positional inputs and a dict of keyword inputs, such "
            f'as ((x, y), {{"mode": "loss"}}), got {_kinds(call)}'
        )


def _kinds(call: Any) -> str:
    return (
        f"({', '.join(type(item).__name__ for item in call)})"
        if isinstance(call, tuple)
        else type(call).__name__
    )
