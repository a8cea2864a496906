"""Running one operator on values without data, to learn shapes and dtypes."""

from collections.abc import Callable
from typing import Any

import torch

from fxbin.tracing.operands import map_nested
from fxbin.tracing.tensor import TracedTensor

_MOVES = frozenset({"cpu", "cuda", "xpu", "ipu"})


def execute(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    device: torch.device,
) -> Any:
    """``function(*args, **kwargs)`` on `device`, whichever one the model asks for."""
    if name in _MOVES:
        return args[0]

    def on_device(item: Any) -> Any:
        return device if type(item) is torch.device else item

    args, kwargs = map_nested(args, on_device), map_nested(kwargs, on_device)
    if isinstance(kwargs.get("device"), str | int):
        kwargs = {**kwargs, "device": device}
    if name == "to" and len(args) > 1 and isinstance(args[1], str):
        args = (args[0], device, *args[2:])
    return function(*args, **kwargs)


def common_device(tensors: list[TracedTensor]) -> torch.device:
    """Where an operator on `tensors` runs; they are moved there, for good.

    Where any of them has no data the result has none either: only what is computed from constants
    alone is computed for real.
    """
    if not any(tensor._value.is_meta for tensor in tensors):
        return torch.device("cpu")
    for tensor in tensors:
        if not tensor._value.is_meta and tensor._value.dim() > 0:
            tensor._value = tensor._value.to("meta")
    return torch.device("meta")
