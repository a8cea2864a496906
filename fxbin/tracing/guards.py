"""Run-time checks that a graph carries where tracing had to rely on a Python value."""

from collections.abc import Callable, Container, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from fxbin.errors import TraceError
from fxbin.tracing.record import TensorSpec, spec_of
from fxbin.tracing.values import call_value


@fx.node.has_side_effect
def check_specialised(value: Any, expected: Any, what: str) -> None:
    """Raise TraceError unless `value` is what it was while tracing; `what` says who relied on it."""
    if isinstance(value, Tensor):
        value = f"a tensor of shape {tuple(value.shape)}"
    elif value == expected:
        return
    ways_out = "transform the model again with example inputs like these"
    if any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
        ways_out += ". If that is the doing of autocast, keep the module whole with `leaf_modules`"
    raise TraceError(
        f"the model was transformed for inputs with {what} = {expected!r}, and now it is {value!r}: "
        f"{ways_out}"
    )


@fx.node.has_side_effect
def check_weights(value: Any, expected: Any, what: str) -> None:
    """Raise TraceError unless `value`, which follows from shapes of parameters, is what it was."""
    if value != expected:
        raise TraceError(
            f"the model was transformed for weights with {what} = {expected!r}, and now it is {value!r}: "
            "transform the model with the new weights"
        )


@fx.node.has_side_effect
def check_count(parts: Any, expected: int, what: str) -> None:
    """Raise TraceError unless a tensor was split into as many parts as while tracing."""
    check_specialised(len(parts), expected, what)


@fx.node.has_side_effect
def register_hook(tensor: Tensor, hook: Callable[[Tensor], Any]) -> None:
    """``tensor.register_hook(hook)`` where there will be a gradient."""
    if tensor.requires_grad:
        tensor.register_hook(hook)


@fx.node.has_side_effect
def check_given(value: Any, name: str) -> None:
    """Raise TraceError where an optional tensor is left out that there was while tracing."""
    if value is None:
        raise TraceError(
            f"the model was transformed for inputs with a tensor as the argument {name!r}, and now it is "
            "None: transform the model again with example inputs like these"
        )


@fx.node.has_side_effect
def check_passed(value: Any, name: str) -> None:
    """Raise TypeError, as Python does, where an argument is left out that has a default in the graph only."""
    if value is ...:
        raise TypeError(f"forward() missing 1 required argument: {name!r}")


@fx.node.has_side_effect
def assign_buffer(buffer: Tensor, value: Tensor) -> Tensor:
    """What ``self.buffer = value`` in a forward leaves behind for the next one.

    Returns what stands for the value from then on: the buffer, unless gradients flow through the value.
    """
    with torch.no_grad():
        if buffer.shape == value.shape and buffer.dtype == value.dtype:
            buffer.copy_(value)
        else:
            buffer.data = value.detach().clone()
    return value if value.requires_grad else buffer


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


def is_about_dtypes(node: fx.Node) -> bool:
    """Whether what `node` computes, a value of Python, follows from the dtype of a tensor."""
    if node.target in _ABOUT_DTYPES or (node.target is getattr and node.args[1] == "dtype"):
        return True
    return _is_python(node) and any(map(is_about_dtypes, node.all_input_nodes))


_ABOUT_DTYPES = (
    *("is_floating_point", "is_complex", "is_signed", "element_size", "itemsize", "type"),
    *(torch.is_floating_point, torch.is_complex),
)


def is_about_weights(node: fx.Node, parameters: Container[str]) -> bool:
    """Whether what `node` computes, a value of Python, follows from the shapes of `parameters` alone."""
    if node.target in _SIZES or (node.target is getattr and node.args[1] in ("shape", "ndim")):
        return _is_made_of(node.all_input_nodes, parameters)
    sources = node.all_input_nodes
    return _is_python(node) and bool(sources) and all(is_about_weights(x, parameters) for x in sources)


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


_SIZES = ("size", "dim", "ndimension", "numel", "nelement")

_SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip


def _is_python(node: fx.Node) -> bool:
    """Whether `node` computes a number or the like, not a tensor."""
    module = getattr(node.target, "__module__", None)
    if node.op != "call_function" or isinstance(spec_of(node), TensorSpec):
        return False
    return module in ("builtins", "_operator", "math", call_value.__module__)
