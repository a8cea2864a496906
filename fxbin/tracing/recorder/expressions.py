"""Writes a Python value in a graph as an expression, and tells what it depends on."""

from collections.abc import Callable, Container, Iterable, Iterator

import torch
from torch import fx

from fxbin.graph.record import TensorSpec, spec_of
from fxbin.tracing.values.numbers import call_value


def describe(node: fx.Node, depth: int = 6) -> str:
    """The Python expression that `node` stands for: ``"x.shape[2] > 7"``.

    Computations on sizes and numbers are written out down to `depth`; a tensor is the name of its node.
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
    """Whether the Python value that `node` computes depends on the dtype of a tensor."""
    return any(
        step.target in _ABOUT_DTYPES or (step.target is getattr and step.args[1] == "dtype")
        for step in _back([node], _is_python)
    )


_ABOUT_DTYPES = (
    *("is_floating_point", "is_complex", "is_signed", "element_size", "itemsize", "type"),
    *(torch.is_floating_point, torch.is_complex),
)


def is_about_weights(node: fx.Node, parameters: Container[str]) -> bool:
    """Whether the Python value that `node` computes depends only on the shapes of `parameters`."""
    return all(
        _is_made_of(step.all_input_nodes, parameters)
        if _is_size(step)
        else _is_python(step) and step.all_input_nodes
        for step in _back([node], lambda step: not _is_size(step))
    )


def _is_size(node: fx.Node) -> bool:
    return node.target in _SIZES or (node.target is getattr and node.args[1] in ("shape", "ndim"))


_SIZES = ("size", "dim", "ndimension", "numel", "nelement")


def _is_made_of(nodes: Iterable[fx.Node], parameters: Container[str]) -> bool:
    def is_parameter(node: fx.Node) -> bool:
        return node.op == "get_attr" and node.target in parameters

    return all(
        is_parameter(step) or (step.all_input_nodes and step.op != "call_module")
        for step in _back(nodes, lambda step: not is_parameter(step))
    )


def steps_back(node: fx.Node) -> Iterator[fx.Node]:
    """Yield `node` and all nodes that it is computed from."""
    return _back([node], lambda _: True)


def _back(nodes: Iterable[fx.Node], goes_on: Callable[[fx.Node], bool]) -> Iterator[fx.Node]:
    """Yield `nodes` and all they are computed from, without duplicates, going on where `goes_on` is true."""
    pending = list(nodes)
    seen = set(pending)
    while pending:
        node = pending.pop()
        yield node
        if goes_on(node):
            pending += [source for source in node.all_input_nodes if source not in seen]
            seen.update(node.all_input_nodes)


def _is_python(node: fx.Node) -> bool:
    """Whether `node` computes a Python value, such as a number, and not a tensor."""
    module = getattr(node.target, "__module__", None)
    if node.op != "call_function" or isinstance(spec_of(node), TensorSpec):
        return False
    return module in ("builtins", "_operator", "math", call_value.__module__)
