"""Who looks on while operators run: compilers, tracers and the functional transforms of torch."""

from typing import Any

import torch
from torch import fx, nn


def is_followed() -> bool:
    """Whether somebody makes something of the operators that run: a program, or another function.

    They need operators that they know, and have no numbers: no ``item()``, no ``out=``.
    """
    return (
        torch.compiler.is_compiling()
        or is_transformed()
        or is_scripted()
        or torch._C._len_torch_dispatch_stack() > 0  # make_fx
    )


def is_transformed() -> bool:
    """Whether `torch.func` makes another function of what runs: its gradient, or a batch of it."""
    return torch._C._are_functorch_transforms_active()


def is_scripted() -> bool:
    """Whether `torch.jit.trace`, or who calls it, makes a program of TorchScript of what runs."""
    return torch._C._is_tracing()


def recorded_call(module: nn.Module, x: fx.Proxy) -> Any:
    """The call of `module` as one node, for a tracer of torch.fx: its code is none that a graph could hold."""
    tracer: Any = x.tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(module), (x,), {})
