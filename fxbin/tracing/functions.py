"""Which functions of torch are recorded, and which of them the reference implementation names.

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

UNNAMED_FUNCTIONS = frozenset(
    ["all", "allclose", "any", "arange", "as_tensor", "broadcast_to", "copysign", "dequantize", "empty", "get_device", "is_floating_point", "numel", "ones", "ones_like", "q_per_channel_axis", "q_per_channel_scales", "q_per_channel_zero_points", "q_scale", "q_zero_point", "qr", "rad2deg", "rad2deg_", "rand", "randn", "randn_like", "sort", "tensor", "zeros"]
)
"""Functions ``torch.*`` that NNCF 2.9.0 lets pass without a node."""

UNNAMED_METHODS = frozenset(
    ["all", "allclose", "any", "as_subclass", "backward", "broadcast_to", "copysign", "copysign_", "cpu", "cuda", "data_ptr", "dequantize", "dim", "get_device", "has_names", "is_contiguous", "is_floating_point", "item", "numel", "numpy", "q_per_channel_axis", "q_per_channel_scales", "q_per_channel_zero_points", "q_scale", "q_zero_point", "qr", "qscheme", "rad2deg", "rad2deg_", "random_", "record_stream", "refine_names", "register_hook", "rename", "rename_", "size", "sort", "storage", "storage_offset", "stride", "__imod__", "__rmod__", "__lshift__", "__rlshift__", "__ilshift__", "__rshift__", "__rrshift__", "__irshift__", "__imatmul__", "__setitem__"]
)
"""Methods of tensors that NNCF 2.9.0 lets pass without a node."""

_NOT_OPERATORS = frozenset(
    ["Optional", "assert_int_or_pair", "handle_torch_function", "has_torch_function", "has_torch_function_unary", "has_torch_function_variadic", "multi_head_attention_forward", "boolean_dispatch"]
)


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
    @wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        tracer = active_tracer()
        if tracer is None:
            return original(*args, **kwargs)
        return tracer.call_function(name, original, args, kwargs)

    return wrapper


def op_name(name: str, kwargs: dict[str, Any]) -> str:
    """The name an operator goes by: `F.relu` is the one function that leads on to another."""
    return "relu_" if name == "relu" and kwargs.get("inplace") else name
