"""Replaces the functions of torch by wrappers that record them under the name they are called by.

Functions are wrapped where user code looks them up (``torch.cat``, ``F.conv2d``), because only there it is
known how the code spelled the call, and because torch's own argument parser rejects traced numbers.
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
    """All public operators of torch and torch.nn.functional, by namespace and name."""
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
    """A recording wrapper for each public operator, by namespace and name.

    If a user has replaced an operator, the wrapper runs the replacement, and the graph calls it under the
    name of the operator.
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
    """Name and original of each operator that NNCF names, by the function that code may have kept.

    Code may refer to a function from before the trace (``from torch import cat``). Functions of `F` then
    report themselves as ``F`` has them, which is the wrapper.
    """
    return {
        function: (name, original)
        for originals in _originals().values()
        for name, original in originals.items()
        if name not in UNNAMED_FUNCTIONS and name not in UNSEEN_FUNCTIONS
        for function in (original, _recorded(name, original, original))
    }


def op_name(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The name of an operator: ``relu_`` for an `F.relu` in place, the one function NNCF looks into."""
    return "relu_" if name == "relu" and (kwargs.get("inplace") or (len(args) > 1 and args[1])) else name
