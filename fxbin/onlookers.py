"""Tells who is recording or transforming the operators that run: compilers, tracers, `torch.func`."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, fx, nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from fxbin import torch_private
from fxbin.errors import TransformError

F = TypeVar("F", bound=Callable[..., Any])


TracerWarning: type[Warning] = torch.jit.TracerWarning  # type: ignore[attr-defined]  # left out of __all__


def is_followed() -> bool:
    """Whether a compiler, a tracer or `torch.func` follows the operators that run.

    These only support operators that they know, and their tensors may have no content: ``item()`` and
    ``out=`` cannot be used.
    """
    return (
        torch.compiler.is_compiling()
        or is_transformed()
        or is_scripted()
        or torch_private.count_dispatch_modes() > 0
    )


def is_unseen(*tensors: Tensor | None) -> bool:
    """Whether what runs on the memory of `tensors` may bypass PyTorch's operators: nobody would see them.

    They are on a CPU, dense, in memory, need no gradient, and no profiler, compiler, tracer or transform is
    active.
    """
    if is_followed() or torch_private.is_profiled() or torch_private.dual_level(forward_ad) >= 0:
        return False
    needs_gradient = torch.is_grad_enabled()
    # Asked in each forward of many layers: a loop takes half of the time of `all` over a generator.
    for x in tensors:
        if x is None:
            continue
        if type(x) is not Tensor or not x.is_cpu or x.layout is not torch.strided or x.is_neg():
            return False
        if needs_gradient and x.requires_grad:
            return False
        if not _has_memory(x):
            return False
    return True


def _has_memory(x: Tensor) -> bool:
    """Whether `x` has numbers: gradients that ``is_grads_batched=True`` stacks have none that can be read."""
    try:
        x.data_ptr()
    except RuntimeError:
        return False
    return True


def has_tangent(*tensors: Tensor | None) -> bool:
    """Whether forward-mode differentiation follows one of `tensors`; compilers do not support it."""
    if torch.compiler.is_compiling() or torch_private.dual_level(forward_ad) < 0:
        return False
    return any(x is not None and forward_ad.unpack_dual(x).tangent is not None for x in tensors)


def is_transformed() -> bool:
    """Whether a transform of `torch.func` is active, such as `grad` or `vmap`."""
    active: bool = torch_private.has_transforms()
    return active


def is_scripted() -> bool:
    """Whether `torch.jit.trace`, also if called by another function, is recording what runs."""
    return torch_private.tracing_state() is not None


def is_in_autograd_function() -> bool:
    """Whether the forward of an autograd function runs.

    False in inference mode and under compilers and `torch.func`, which do not let it be seen.
    """
    if torch.compiler.is_compiling() or is_transformed() or torch.is_inference_mode_enabled():
        return False
    return not torch_private.has_forward_gradients()


def is_proxy(x: Any) -> bool:
    """Whether `x` is a proxy, which stands for a value while a tracer of torch.fx records."""
    return isinstance(x, fx.Proxy)


def recorded_call(module: nn.Module, x: Any) -> Any:
    """Let the tracer of the proxy `x` record the call of `module` as one node, not the code inside."""
    tracer: Any = x.tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(module), (x,), {})


def is_exported() -> bool:
    """Whether `torch.export` makes a program of what runs; right inside torch.compile, too."""
    return bool(getattr(torch.compiler, torch_private.EXPORTING))


def program_maker() -> str:
    """Name of the function that records a program without custom backwards now; empty if none does."""
    if is_exported():
        return "torch.export"
    return "torch.jit.trace" if not torch.compiler.is_compiling() and is_scripted() else ""


def recordable(function: F) -> F:
    """Decorator: if an argument is a proxy, its tracer of torch.fx records the call as one node."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for item in args:
            if isinstance(item, fx.Proxy):
                return item.tracer.create_proxy("call_function", call, args, kwargs)
        return function(*args, **kwargs)

    return cast("F", call)


def check_differentiated_once() -> None:
    """Raise TransformError if `torch.func` computes a second derivative, which would silently be 0."""
    levels = [] if torch.compiler.is_compiling() else torch_private.interpreter_stack() or []
    if sum(level.key() == torch_private.TransformType.Grad for level in levels) > 1:
        raise TransformError(
            "torch.func: a straight-through estimator has no second derivative, which a gradient of a "
            "gradient needs: differentiate once, or switch the binarizers off"
        )


def check_can_start(name: str) -> None:
    """Raise TransformError if a scale cannot be initialized now, because the batch has no content."""
    if torch.compiler.is_compiling():
        return
    if is_transformed() or is_scripted() or get_proxy_mode():
        raise TransformError(
            f"{name}: its scale is initialized by the first training batch, which must run by itself: call "
            "the model once in train mode before torch.func or a tracer calls it, or call eval()"
        )


def known(size: Any) -> Any:
    """`size` as a number, without a warning if it is a tensor, as sizes are under `torch.jit.trace`."""
    if torch.compiler.is_compiling() or not isinstance(size, torch.Tensor) or not is_scripted():
        return size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)
        return size.item()
