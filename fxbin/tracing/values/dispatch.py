"""Determines the method that NNCF sees for a binary operator.

NNCF 2.9.0 names only the methods of its own tensor class. Python calls the reflected method of the right
operand if its class is a subclass of the left operand's class, so a buffer on the left turns ``+`` into
``__radd__``. A parameter on the left hides the operator and its result from NNCF.
"""

from typing import Any

from fxbin.tracing.values.reference import UNNAMED_METHODS
from fxbin.tracing.values.tensor import TracedTensor

_REFLECTING = ["add", "sub", "mul", "truediv", "pow", "floordiv", "matmul", "and", "or", "xor"]
_REFLECTED = {f"__{name}__": f"__r{name}__" for name in _REFLECTING}
_MIRRORED = {
    "__lt__": "__gt__", "__gt__": "__lt__", "__le__": "__ge__", "__ge__": "__le__",
    "__eq__": "__eq__", "__ne__": "__ne__",
}  # fmt: skip


def visible_operator(name: str, receiver: TracedTensor, operands: tuple[Any, ...]) -> tuple[str, bool]:
    """The operator that NNCF sees in ``receiver.name(*operands)``, and whether it names it."""
    if receiver._tracked:
        return name, name not in UNNAMED_METHODS
    other = operands[0] if operands else None
    if type(other) is not TracedTensor or not other._tracked:
        return name, False
    if receiver._is_param:
        return ("floor_divide", True) if name == "__floordiv__" else (name, False)
    seen = _REFLECTED.get(name) or _MIRRORED.get(name)
    return (name, False) if seen is None else (seen, True)
