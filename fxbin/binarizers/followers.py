"""Who looks on while operators run: compilers, tracers and the functional transforms of torch."""

from typing import Any

import torch
from torch import fx, nn

from fxbin.errors import TransformError


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


def check_can_train(name: str) -> None:
    """Raise TransformError where the program that is made would train the binarizer `name` wrongly."""
    if not torch.compiler.is_compiling() and is_scripted():
        raise TransformError(
            f"torch.jit.trace: {name} is binarized and in train mode, and TorchScript cannot hold its "
            "straight-through gradient: call eval() first, as a traced module is for inference"
        )


def check_can_start(name: str) -> None:
    """Raise TransformError where a scale cannot start from a batch, since that batch has no numbers to show."""
    if not torch.compiler.is_compiling() and is_followed():
        raise TransformError(
            f"{name}: its scale starts from the first training batch, which has to run on its own: call the "
            "model once in train mode before torch.func or a tracer does, or call eval()"
        )


def known(size: Any) -> Any:
    """`size` as a number also where `torch.jit.trace` makes tensors of sizes, and then warns of each look."""
    if torch.compiler.is_compiling() or not isinstance(size, torch.Tensor) or not is_scripted():
        return size
    state = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)
    try:
        return size.item()
    finally:
        torch._C._set_tracing_state(state)
