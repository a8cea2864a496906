"""Determines by the values of arguments for which calls a graph is valid."""

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
"""A function of the value found so far, and its further arguments."""


@dataclass(frozen=True)
class Argument:
    """The value that one argument, or an item in it, must have, because the graph was traced with it."""

    position: int
    """Index of the parameter."""

    name: str
    """Name of the parameter; ``*args`` and ``**kwargs`` with their stars."""

    default: Any
    """Default of the parameter; ``...`` if it has none."""

    named: frozenset[str]
    """Names of all parameters except ``*args`` and ``**kwargs``."""

    steps: tuple[Step, ...]
    """The path from the argument to the item in it."""

    value: Any
    """The required value: None, a number, a flag or text."""

    is_given: bool
    """Whether any value but None is accepted, in place of `value`."""

    def fits(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether the arguments of a call have the required value."""
        found = self._of_call(args, kwargs)
        try:
            for function, rest in self.steps:
                found = function(found, *rest)
        except (LookupError, TypeError, AttributeError):
            return False
        if is_proxy(found):
            return True  # the tracer that has made the proxy records the guards of the graph as well
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
    """The values that the guards of `graph` require of arguments and of items in containers.

    Shapes are not among them: the guards check these when the graph runs.
    """
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    named = frozenset(str(node.target) for node in inputs if not str(node.target).startswith("*"))
    found = []
    for node in graph.nodes:
        if node.target in (check_specialised, check_given, check_nothing_more):
            of, steps = _container_of(node.args[0])
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


def argument_at(graph: fx.Graph, target: str, steps: tuple[Step, ...], value: Any) -> Argument:
    """The requirement that ``steps`` give `value` for the argument of the placeholder `target` of `graph`."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    position = [str(node.target) for node in inputs].index(target)
    named = frozenset(str(node.target) for node in inputs if not str(node.target).startswith("*"))
    default = inputs[position].args[0] if inputs[position].args else ...
    return Argument(position, target, default, named, steps, value, is_given=False)


def check_distinguishable(graphs: Sequence[fx.Graph], calls: Sequence[Call]) -> None:
    """Raise TransformError if one of `graphs`, of one call each, is also valid for a later one of `calls`."""
    for index, (args, kwargs) in enumerate(calls):
        for earlier, graph in enumerate(graphs[:index]):
            if all(argument.fits(args, kwargs) for argument in arguments_of(graph)):
                first = f"other_calls[{earlier - 1}]" if earlier else "the first call"
                raise TransformError(
                    f"other_calls[{index - 1}]: the graph of {first} is valid for these arguments, too: "
                    "calls are distinguished by which optional arguments they pass, by numbers, flags and "
                    "text, and by the contents of containers, not by shapes. Leave it out"
                )


def _container_of(node: fx.Node) -> tuple[fx.Node, tuple[Step, ...]]:
    """The outermost container that `node` is an item of, and the path from there; or `node` itself."""
    steps: list[Step] = []
    while node.target in (operator.getitem, len, getattr):
        whole = node.args[0]
        if not isinstance(whole, fx.Node) or isinstance(spec_of(whole), TensorSpec):
            break
        steps.insert(0, (node.target, node.args[1:]))
        node = whole
    return node, tuple(steps)


def check_calls(calls: Sequence[Call]) -> None:
    """Raise TransformError if one of `calls`, given by a user, is not a tuple and a mapping."""
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
