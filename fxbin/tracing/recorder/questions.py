"""Records what code asks of torch and of tensors that are not computed, as a graph relies on the answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

from fxbin.graph.record import TensorSpec, spec_of
from fxbin.tracing.recorder.reads import MISSING

Steps: TypeAlias = tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...]
"""Functions of the value found so far, each with its further arguments."""


@dataclass(frozen=True)
class OfState:
    """A question about a setting of torch, such as ``torch.is_autocast_enabled("cpu")``."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    answer: Any

    def holds(self) -> bool:
        """Whether the answer is the same now."""
        return is_same_answer(self.function(*self.args), self.answer)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OfState":
        return self  # it is about the process, not about a model


@dataclass(frozen=True)
class OfHeld:
    """A question about a tensor of the model, such as ``self.conv.weight.requires_grad``."""

    path: str
    """Qualified name of the tensor."""

    name: str
    """Name of the attribute that was asked for."""

    answer: Any


@dataclass(frozen=True)
class OfArgument:
    """A question about an input, such as ``x.requires_grad``."""

    argument: str
    """The target of the placeholder."""

    steps: Steps
    """The path from the argument to the tensor in it."""

    name: str
    """Name of the attribute that was asked for."""

    answer: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> "OfArgument":
        return self


Question: TypeAlias = OfState | OfHeld | OfArgument
"""A question of the code, with the answer that the graph takes for granted."""


def answer_about(tensor: Any, name: str) -> Any:
    """What `tensor` answers when it is asked for the attribute `name`, in a form that can be compared."""
    if name in ("grad_fn", "grad"):
        return getattr(tensor, name, None) is None
    if name == "__dict__":
        return tuple(vars(tensor).items())
    if name == "__class__":
        kind = type(tensor)
        return Tensor if kind.__module__.startswith("torch._subclasses.") else kind  # torch.export's own
    return getattr(tensor, name, MISSING)


def is_same_answer(now: Any, before: Any) -> bool:
    """Whether two answers are the same: plain values by content, other objects by identity."""
    if now is before:
        return True
    if type(now) is not type(before):
        return False
    if type(now) is tuple:
        return len(now) == len(before) and all(map(is_same_answer, now, before))
    return type(now) in _PLAIN and bool(now == before)


_PLAIN = (bool, int, float, str, torch.device)


@dataclass(frozen=True)
class Given:
    """What a traced input stands for, until the code changes it in place."""

    example: Tensor
    """The example input."""

    node: fx.Node
    """The node of the input."""


class Questions:
    """The questions of the code that one trace records."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], Question] = {}
        self._at_entry: dict[tuple[Any, ...], Any] = {}

    @property
    def all(self) -> tuple[Question, ...]:
        """All questions, without duplicates."""
        return tuple(self._found.values())

    def begin(self, answers: dict[tuple[Any, ...], Any]) -> None:
        """Note `answers`, by function and arguments, to questions that regions of the code may change."""
        self._at_entry = answers

    def at_entry(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The answer at the beginning of the trace; MISSING if it was not noted."""
        return self._at_entry.get((function, args), MISSING)

    def of_state(self, function: Callable[..., Any], args: tuple[Any, ...], answer: Any) -> None:
        """Note that the code relies on ``function(*args)`` being `answer`.

        What is compared before a call is the answer before the code has changed the setting itself.
        """
        before = self.at_entry(function, args)
        key = (function, args)
        self._found.setdefault(key, OfState(function, args, answer if before is MISSING else before))

    def of_held(self, path: str, name: str, answer: Any) -> None:
        """Note that the code relies on an attribute of the tensor at `path` of the model."""
        self._found.setdefault((path, name), OfHeld(path, name, answer))

    def of_argument(self, node: fx.Node, name: str, answer: Any) -> None:
        """Note that the code relies on an attribute of the input that `node` stands for."""
        argument, steps = input_of(node)
        self._found.setdefault((node, name), OfArgument(str(argument.target), steps, name, answer))


def input_of(node: fx.Node) -> tuple[fx.Node, Steps]:
    """The placeholder of the argument that `node` is, or is an item in, and the path to it.

    If it is neither, the first of both is another node.
    """
    steps: list[Any] = []
    while node.op == "call_function" and node.args and isinstance(whole := node.args[0], fx.Node):
        if isinstance(spec_of(whole), TensorSpec):
            break
        steps.insert(0, (node.target, node.args[1:]))
        node = whole
    return node, tuple(steps)
