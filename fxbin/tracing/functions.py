"""Which functions of torch are recorded under the name they are called by.

Functions are wrapped where user code looks them up (``torch.cat``, ``F.conv2d``), because only there
is it known how the code spelled the call, and because arguments that are not plain Python numbers
would not get past torch's own argument parser.
"""

from collections.abc import Callable
from functools import cache, wraps
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F

from fxbin.tracing.active import active_tracer
from fxbin.tracing.reference import UNNAMED_FUNCTIONS, UNSEEN_FUNCTIONS

_NOT_OPERATORS = frozenset(
    {
        "Optional", "assert_int_or_pair", "handle_torch_function", "has_torch_function",
        "has_torch_function_unary", "has_torch_function_variadic", "multi_head_attention_forward",
        "boolean_dispatch",
    }
)  # fmt: skip


@cache
def recorded_functions() -> tuple[tuple[ModuleType, str, Callable[..., Any], Callable[..., Any]], ...]:
    """(namespace, name, original, wrapped) of each public operator of torch and torch.nn.functional."""
    names = {
        F: [name for name in dir(F) if not name.startswith("_") and name not in _NOT_OPERATORS],
        torch: [name for name in dir(torch._C._VariableFunctions) if not name.startswith("_")],
    }
    found = []
    for namespace, candidates in names.items():
        for name in candidates:
            original = getattr(namespace, name, None)
            if callable(original) and not isinstance(original, type):
                found.append((namespace, name, original, _recorded(name, original)))
    return tuple(found)


def _recorded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    tracked = name not in UNNAMED_FUNCTIONS

    @wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        tracer = active_tracer()
        if tracer is None:
            return original(*args, **kwargs)
        return tracer.call_function(op_name(name, args, kwargs), original, args, kwargs, tracked=tracked)

    return wrapper


@cache
def bound_early() -> dict[Callable[..., Any], tuple[str, Callable[..., Any]]]:
    """Name and original of each recorded function that the reference names.

    For code that took hold of the function before the trace. Functions of `F` then name themselves as
    ``F`` has them, which is the wrapped one.
    """
    return {
        function: (name, original)
        for _, name, original, wrapped in recorded_functions()
        if name not in UNNAMED_FUNCTIONS and name not in UNSEEN_FUNCTIONS
        for function in (original, wrapped)
    }


def op_name(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The name an operator goes by: `F.relu` is the one function that the reference looks into."""
    return "relu_" if name == "relu" and (kwargs.get("inplace") or (len(args) > 1 and args[1])) else name
