"""Who looks on while operators run: compilers, tracers and the functional transforms of torch."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from fxbin import torch_private
from fxbin.errors import TransformError

F = TypeVar("F", bound=Callable[..., Any])


TracerWarning: type[Warning] = torch.jit.TracerWarning  # type: ignore[attr-defined]  # left out of __all__


def is_followed() -> bool:
    """Whether somebody makes something of the operators that run: a program, or another function.

    They need operators that they know, and have no numbers: no ``item()``, no ``out=``.
    """
    return (
        torch.compiler.is_compiling()
        or is_transformed()
        or is_scripted()
        or torch_private.count_dispatch_modes() > 0
    )


def is_transformed() -> bool:
    """Whether `torch.func` makes another function of what runs: its gradient, or a batch of it."""
    active: bool = torch_private.has_transforms()
    return active


def is_scripted() -> bool:
    """Whether `torch.jit.trace`, or who calls it, makes a program of TorchScript of what runs."""
    return torch_private.tracing_state() is not None


def is_proxy(x: Any) -> bool:
    """Whether `x` stands for a value that a tracer of torch.fx follows."""
    return isinstance(x, fx.Proxy)


def recorded_call(module: nn.Module, x: Any) -> Any:
    """The call of `module` as one node of a tracer of torch.fx: its code is none that a graph could hold."""
    tracer: Any = x.tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(module), (x,), {})


def is_exported() -> bool:
    """Whether `torch.export` makes a program of what runs; right inside torch.compile, too."""
    return bool(getattr(torch.compiler, torch_private.EXPORTING))


def program_maker() -> str:
    """Who makes a program of what runs that keeps no custom backward; empty if nobody does."""
    if is_exported():
        return "torch.export"
    return "torch.jit.trace" if not torch.compiler.is_compiling() and is_scripted() else ""


def recordable(function: F) -> F:
    """Decorator: a tracer of torch.fx records a call with its proxies as one node, and looks no further."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for item in args:
            if isinstance(item, fx.Proxy):
                return item.tracer.create_proxy("call_function", call, args, kwargs)
        return function(*args, **kwargs)

    return cast("F", call)


def check_differentiated_once() -> None:
    """Raise TransformError where `torch.func` asks for a second derivative, which it would take for 0."""
    levels = [] if torch.compiler.is_compiling() else torch_private.interpreter_stack() or []
    if sum(level.key() == torch_private.TransformType.Grad for level in levels) > 1:
        raise TransformError(
            "torch.func: a straight-through estimator has no second derivative, which a gradient of a "
            "gradient asks for: differentiate once, or switch the binarizers off"
        )


def check_can_start(name: str) -> None:
    """Raise TransformError where a scale cannot start, as the batch has no numbers to show."""
    if torch.compiler.is_compiling():
        return
    if is_transformed() or is_scripted() or get_proxy_mode():
        raise TransformError(
            f"{name}: its scale starts from the first training batch, which has to run on its own: call the "
            "model once in train mode before torch.func or a tracer does, or call eval()"
        )


def known(size: Any) -> Any:
    """`size` as a number also where `torch.jit.trace` makes tensors of sizes, and then warns of each look."""
    if torch.compiler.is_compiling() or not isinstance(size, torch.Tensor) or not is_scripted():
        return size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)
        return size.item()
