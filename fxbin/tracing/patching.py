"""Puts a tracer between user code and torch, for the time of one trace."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import GetSetDescriptorType, MethodDescriptorType, WrapperDescriptorType
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fxbin.tracing.active import active_tracer, recording
from fxbin.tracing.functions import recorded_functions
from fxbin.tracing.tensor import TracedTensor
from fxbin.tracing.tracer import Tracer


@contextmanager
def patched(tracer: Tracer) -> Iterator[None]:
    """Inside, torch calls of this thread are recorded by `tracer`; other threads see no change.

    Everything is put back in the end: functions and methods of torch, the random number generator,
    and what the forward of the model assigned to attributes of its modules.
    """
    # Operators on the meta device import it sooner or later. It fills tables by identity with what it
    # finds in the namespace of torch, so that must happen before wrapped functions are there.
    importlib.import_module("torch._dynamo")
    with ExitStack() as stack:
        for namespace, name, original, wrapped in recorded_functions():
            setattr(namespace, name, wrapped)
            stack.callback(setattr, namespace, name, original)
        stack.enter_context(mock.patch.object(nn.Module, "__call__", _module_call(nn.Module.__call__)))
        stack.enter_context(
            mock.patch.object(nn.Module, "__getattr__", _module_getattr(nn.Module.__getattr__))
        )
        # A statistic over one value per channel is an error at run time, not while tracing.
        stack.enter_context(mock.patch.object(F, "_verify_batch_size", lambda size: None))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(_attributes_kept(tracer.root))
        stack.enter_context(_Mode())
        stack.enter_context(recording(tracer))
        yield


def _module_call(original: Callable[..., Any]) -> Callable[..., Any]:
    def __call__(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        tracer = active_tracer()
        if tracer is None:
            return original(module, *args, **kwargs)
        return tracer.call_module(original, module, args, kwargs)

    return __call__


def _module_getattr(original: Callable[..., Any]) -> Callable[..., Any]:
    def __getattr__(module: nn.Module, name: str) -> Any:
        value = original(module, name)
        tracer = active_tracer()
        if tracer is None or not isinstance(value, Tensor) or type(value) is TracedTensor:
            return value
        return tracer.attributes.stand_in(value)

    return __getattr__


class _Mode(TorchFunctionMode):
    """Catches what is not wrapped: functions bound by name early, methods of plain tensors."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tracer = active_tracer()
        if tracer is None:
            return func(*args, **kwargs)
        owner = getattr(func, "__self__", None)
        if isinstance(owner, GetSetDescriptorType):
            return _attribute(tracer, func, owner.__name__, args)
        if isinstance(func, MethodDescriptorType | WrapperDescriptorType):
            return tracer.call_method(func.__name__, func, args, kwargs)
        return tracer.call_function(func.__name__, func, args, kwargs)


def _attribute(tracer: Tracer, func: Any, name: str, args: tuple[Any, ...]) -> Any:
    """``tensor.name`` or ``tensor.name = value``: recorded where it gives or takes a tensor."""
    if func.__name__ == "__set__":
        return tracer.compute(setattr, (args[0], name, args[1]))
    tensor = args[0]
    value = getattr(tensor._value if type(tensor) is TracedTensor else tensor, name)
    return tracer.compute(getattr, (tensor, name)) if isinstance(value, Tensor) else value


@contextmanager
def _attributes_kept(root: nn.Module) -> Iterator[None]:
    """Put back whatever is assigned to attributes of `root`'s modules inside."""
    before = [
        (module, dict(vars(module)), {name: dict(vars(module)[name]) for name in _REGISTRIES})
        for module in root.modules()
    ]
    try:
        yield
    finally:
        for module, attributes, registries in before:
            vars(module).clear()
            vars(module).update(attributes)
            for name, content in registries.items():
                vars(module)[name].clear()
                vars(module)[name].update(content)


_REGISTRIES = ("_parameters", "_buffers", "_modules")
