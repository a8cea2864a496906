"""Run-time checks that a graph carries where tracing had to rely on a Python value."""

from typing import Any

from torch import fx

from fxbin.errors import TraceError


def check_specialised(value: Any, expected: Any, what: str) -> None:
    """Raise TraceError unless `value` is what it was while tracing; `what` says who relied on it."""
    if value != expected:
        raise TraceError(
            f"the model was transformed for inputs with {what} = {expected!r}, and now it is {value!r}: "
            "transform the model again with example inputs like these"
        )


def describe(node: fx.Node) -> str:
    """The Python expression that `node` stands for: ``"x.shape[2] > 7"``.

    Only what is made of sizes and numbers is spelled out; a tensor is named by its node.
    """
    name = getattr(node.target, "__name__", str(node.target))
    args = [describe(arg) if isinstance(arg, fx.Node) and _is_python(arg) else str(arg) for arg in node.args]
    if node.op != "call_function" or not _is_python(node):
        return str(node.target) if node.op in ("placeholder", "get_attr") else node.name
    if name == "getattr":
        return f"{args[0]}.{args[1]}"
    if name == "getitem":
        return f"{args[0]}[{args[1]}]"
    if name in _SYMBOLS and len(args) == 2:
        return f"({args[0]} {_SYMBOLS[name]} {args[1]})"
    return f"{name}({', '.join(args)})"


_SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}


def _is_python(node: fx.Node) -> bool:
    """Whether `node` computes a number or the like, not a tensor."""
    module = getattr(node.target, "__module__", None)
    return node.op == "call_function" and module in ("builtins", "_operator", "math")
