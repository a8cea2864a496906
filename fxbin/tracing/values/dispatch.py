"""Which method Python calls for a binary operator, as the reference implementation sees it.

NNCF 2.9.0 names the methods of its own tensor class only. Python calls the right operand's reflected
method where that class is a subclass of the left operand's, so a buffer on the left turns ``+`` into
``__radd__``; a parameter on the left hides the operator, and its result is lost from sight.
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


def seen_operator(name: str, receiver: TracedTensor, operands: tuple[Any, ...]) -> tuple[str, bool]:
    """The name that the reference gives to ``receiver.name(*operands)``, and whether it gives one."""
    if receiver._tracked:
        return name, name not in UNNAMED_METHODS
    other = operands[0] if operands else None
    if type(other) is not TracedTensor or not other._tracked:
        return name, False
    if receiver._is_param:
        return ("floor_divide", True) if name == "__floordiv__" else (name, False)
    seen = _REFLECTED.get(name) or _MIRRORED.get(name)
    return (name, False) if seen is None else (seen, True)
