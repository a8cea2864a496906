"""Which functions of torch are recorded under the name they are called by.

Functions are wrapped where user code looks them up (``torch.cat``, ``F.conv2d``), because only there
is it known how the code spelled the call, and because arguments that are not plain Python numbers
would not get past torch's own argument parser.
"""

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F

from fxbin import torch_private
from fxbin.tracing.values.active import active_tracer
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.reference import UNNAMED_FUNCTIONS, UNSEEN_FUNCTIONS
from fxbin.tracing.values.stand_ins import standing_for

_NOT_OPERATORS = frozenset(
    {
        "Optional", "assert_int_or_pair", "handle_torch_function", "has_torch_function",
        "has_torch_function_unary", "has_torch_function_variadic", "multi_head_attention_forward",
        "boolean_dispatch",
    }
)  # fmt: skip


@cache
def _originals() -> dict[ModuleType, dict[str, Callable[..., Any]]]:
    """Each public operator of torch and torch.nn.functional, by namespace and name."""
    names = {
        F: [name for name in dir(F) if not name.startswith("_") and name not in _NOT_OPERATORS],
        torch: [name for name in dir(torch_private.OperatorNames) if not name.startswith("_")],
    }
    return {
        module: {name: vars(module)[name] for name in candidates if _is_function(vars(module).get(name))}
        for module, candidates in names.items()
    }


def _is_function(item: Any) -> bool:
    return callable(item) and not isinstance(item, type)


def recorded_functions() -> dict[ModuleType, dict[str, Callable[..., Any]]]:
    """What is to stand for each of them; or for what somebody has put in its place.

    The graph calls such a function as the code does, by the name that it has in torch.
    """
    return {
        module: {name: _recorded(name, original, vars(module)[name]) for name, original in originals.items()}
        for module, originals in _originals().items()
    }


@cache
def _recorded(name: str, original: Callable[..., Any], now: Callable[..., Any]) -> Callable[..., Any]:
    tracked = name not in UNNAMED_FUNCTIONS

    @standing_for(now)
    @speaks_for_user
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        tracer = active_tracer()
        if tracer is None:
            return now(*args, **kwargs)
        op = op_name(name, args, kwargs)
        return tracer.call_function(op, original, args, kwargs, tracked=tracked, run=now)

    return wrapper


@cache
def bound_early() -> dict[Callable[..., Any], tuple[str, Callable[..., Any]]]:
    """Name and original of each recorded function that the reference names.

    For code that took hold of the function before the trace. Functions of `F` then name themselves as
    ``F`` has them, which is the wrapped one.
    """
    return {
        function: (name, original)
        for originals in _originals().values()
        for name, original in originals.items()
        if name not in UNNAMED_FUNCTIONS and name not in UNSEEN_FUNCTIONS
        for function in (original, _recorded(name, original, original))
    }


def op_name(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The name an operator goes by: `F.relu` is the one function that the reference looks into."""
    return "relu_" if name == "relu" and (kwargs.get("inplace") or (len(args) > 1 and args[1])) else name
