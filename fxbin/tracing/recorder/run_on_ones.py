"""Runs code that cannot run without data, to learn the shape of its result."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fxbin.graph.containers import leaves, map_nested
from fxbin.tracing.values.bugs import as_asked


def run_on_ones(run: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Run a module on ones in place of meta tensors; the result is on the meta device again.

    `run` is a copy of `module`, which tells the device, so that `module` itself does not change.
    """
    device = next((x.device for x in module.parameters()), torch.device("cpu"))

    def with_data(item: Any) -> Any:
        return torch.ones_like(item, device=device) if isinstance(item, Tensor) and item.is_meta else item

    result = as_asked(run, *map_nested(args, with_data), **map_nested(kwargs, with_data))
    if not any(isinstance(arg, Tensor) and arg.is_meta for arg in leaves((args, kwargs))):
        return result
    return map_nested(result, lambda item: item.to("meta") if isinstance(item, Tensor) else item)
