"""Run-time check of the containers that a module which is kept whole returns."""

from typing import Any

from torch import Tensor, fx

from fxbin.errors import TraceError
from fxbin.graph.containers import Attribute, parts
from fxbin.onlookers import recordable


class UnknownStructureError(Exception):
    """A result contains something with which the code that gets it cannot be traced."""


def structure(result: Any, *, may_be_list: bool = True) -> str:
    """The containers in `result` as text, without its tensors and numbers: ``"(tensor, {'aux': None})"``.

    Raises UnknownStructureError if they are known only when the model runs: a list may have another length in
    each run, and an object may contain anything.
    """
    if isinstance(result, Tensor):
        return "tensor"
    if result is None or isinstance(result, str | bytes):
        return repr(result)
    if isinstance(result, bool | int | float | complex):
        return "number"
    if isinstance(result, list) and not may_be_list:
        raise UnknownStructureError("a list, whose length is known only when the model runs")
    found = parts(result)
    if found is None:
        raise UnknownStructureError(f"an object of type {type(result).__name__}")
    inside = [_spelled(key, result) + structure(x, may_be_list=may_be_list) for key, x in found.items()]
    return f"{'' if type(result) in (tuple, dict) else type(result).__name__}({', '.join(inside)})"


def _spelled(key: Any, container: Any) -> str:
    if type(key) is Attribute:
        return f"{key.name}="
    return "" if isinstance(container, list | tuple) else f"{key!r}: "


@fx.node.has_side_effect
@recordable
def check_structure(result: Any, expected: str, what: str) -> None:
    """Raise TraceError unless `result` has the structure that it had during the trace."""
    try:
        found = structure(result)
    except UnknownStructureError as error:
        found = str(error)
    if found != expected:
        raise TraceError(
            f"the model was transformed for inputs with which {what} gives {expected}, and now it gives "
            f"{found}: transform the model again with example inputs like these"
        )
