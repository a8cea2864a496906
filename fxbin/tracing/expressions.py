"""What a value of Python in a graph follows from, and how it is spelled."""

from collections.abc import Container, Iterable

import torch
from torch import fx

from fxbin.tracing.record import TensorSpec, spec_of
from fxbin.tracing.values import call_value


def describe(node: fx.Node, depth: int = 6) -> str:
    """The Python expression that `node` stands for: ``"x.shape[2] > 7"``.

    Only what is made of sizes and numbers is spelled out, and that down to `depth`; a tensor is named by
    its node.
    """
    if node.op in ("placeholder", "get_attr"):
        return str(node.target)
    if depth == 0 or not _is_python(node):
        return node.name
    name = getattr(node.target, "__name__", str(node.target))
    args = [describe(arg, depth - 1) if isinstance(arg, fx.Node) else str(arg) for arg in node.args]
    if name == "getattr":
        return f"{args[0]}.{args[1]}"
    if name == "getitem":
        return f"{args[0]}[{args[1]}]"
    if name == "call_value":
        return f"{args[0]}({', '.join(args[1:])})"
    if name in _SYMBOLS and len(args) == 2:
        return f"({args[0]} {_SYMBOLS[name]} {args[1]})"
    return f"{name}({', '.join(args)})"


_SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip


def is_about_dtypes(node: fx.Node) -> bool:
    """Whether what `node` computes, a value of Python, follows from the dtype of a tensor."""
    pending, seen = [node], {node}
    while pending:
        step = pending.pop()
        if step.target in _ABOUT_DTYPES or (step.target is getattr and step.args[1] == "dtype"):
            return True
        if _is_python(step):
            pending += [source for source in step.all_input_nodes if source not in seen]
            seen.update(step.all_input_nodes)
    return False


_ABOUT_DTYPES = (
    *("is_floating_point", "is_complex", "is_signed", "element_size", "itemsize", "type"),
    *(torch.is_floating_point, torch.is_complex),
)


def is_about_weights(node: fx.Node, parameters: Container[str]) -> bool:
    """Whether what `node` computes, a value of Python, follows from the shapes of `parameters` alone."""
    pending, seen = [node], {node}
    while pending:
        step = pending.pop()
        if step.target in _SIZES or (step.target is getattr and step.args[1] in ("shape", "ndim")):
            if not _is_made_of(step.all_input_nodes, parameters):
                return False
            continue
        if not _is_python(step) or not step.all_input_nodes:
            return False
        pending += [source for source in step.all_input_nodes if source not in seen]
        seen.update(step.all_input_nodes)
    return True


_SIZES = ("size", "dim", "ndimension", "numel", "nelement")


def _is_made_of(nodes: Iterable[fx.Node], parameters: Container[str]) -> bool:
    pending, seen = list(nodes), set(nodes)
    while pending:
        node = pending.pop()
        if node.op == "get_attr" and node.target in parameters:
            continue
        if not node.all_input_nodes or node.op == "call_module":
            return False
        pending += [source for source in node.all_input_nodes if source not in seen]
        seen.update(node.all_input_nodes)
    return True


def _is_python(node: fx.Node) -> bool:
    """Whether `node` computes a number or the like, not a tensor."""
    module = getattr(node.target, "__module__", None)
    if node.op != "call_function" or isinstance(spec_of(node), TensorSpec):
        return False
    return module in ("builtins", "_operator", "math", call_value.__module__)
