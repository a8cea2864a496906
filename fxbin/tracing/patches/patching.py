"""Puts a tracer between user code and torch for the duration of one trace."""

import importlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import GetSetDescriptorType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fxbin import torch_private
from fxbin.original.caches import caches_disabled
from fxbin.tracing.patches.asked import answers_now, asking_functions, names_replaced, properties_asked
from fxbin.tracing.patches.autograd_functions import FUNCTIONS
from fxbin.tracing.patches.by_thread import by_thread
from fxbin.tracing.patches.casts import SIZE, casts_traced
from fxbin.tracing.patches.functions import bound_early, op_name, recorded_functions
from fxbin.tracing.patches.random_numbers import RANDOM
from fxbin.tracing.patches.regions import REGIONS
from fxbin.tracing.patches.replacement import replaced
from fxbin.tracing.patches.replacements import CALLS
from fxbin.tracing.recorder.tracer import Tracer
from fxbin.tracing.values.active import active_tracer, recording
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.recording import Recording
from fxbin.tracing.values.reference import FOLLOWED_FUNCTIONS
from fxbin.tracing.values.tensor import TracedTensor

REPLACEMENTS = (*CALLS, *REGIONS, *FUNCTIONS, *RANDOM, SIZE)
_one_at_a_time = threading.RLock()
_are_installed = False


@contextmanager
def replacements_kept() -> Iterator[None]:
    """Install the replacements that no tracer needs to know, once for all traces inside of this region.

    A special method of `nn.Module` has to be set in each class derived from it, which takes longer than the
    trace of a small model where a library has defined a thousand classes. Outside of a trace, the
    replacements do what the originals do.
    """
    global _are_installed  # noqa: PLW0603  (there is one torch, whose functions are replaced)
    with _one_at_a_time:
        if _are_installed:
            yield
            return
        with replaced(REPLACEMENTS):
            _are_installed = True
            try:
                yield
            finally:
                _are_installed = False


@contextmanager
def patched(tracer: Tracer) -> Iterator[None]:
    """Let `tracer` record the torch calls of this thread; other threads see no change.

    Functions and methods of torch are restored at the end; `state_kept` restores the model.
    """
    # Operators on the meta device import it sooner or later. It fills tables with the functions that it
    # finds in the namespace of torch, so it must be imported before these are wrapped.
    importlib.import_module(torch_private.COMPILER)
    with _one_at_a_time, ExitStack() as stack:
        tracer.attributes.prepare(tracer.reached())
        for namespace, wrappers in recorded_functions().items():
            stack.enter_context(by_thread(namespace, wrappers))
        tracer.questions.begin(answers_now())
        for namespace, asking in asking_functions().items():
            stack.enter_context(by_thread(namespace, asking))
        stack.enter_context(properties_asked())
        stack.enter_context(replacements_kept())
        # Compiled functions run uncompiled, because the compiler cannot handle the tracer.
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        inventory = tracer.attributes.inventory
        stack.enter_context(casts_traced(inventory.namespaces))
        stack.enter_context(names_replaced(inventory.imported_functions))
        stack.enter_context(caches_disabled(inventory.caches))
        stack.enter_context(_Mode())
        stack.enter_context(recording(tracer))
        yield


class _Mode(TorchFunctionMode):
    """Records what is not wrapped: functions that code has kept, methods of plain tensors."""

    @speaks_for_user
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
            return tracer.call_plain_method(func.__name__, func, args, kwargs)
        if func in FOLLOWED_FUNCTIONS:
            return tracer.call_whole(func, func, args, kwargs)
        if func not in bound_early():
            return tracer.call_function(func.__name__, func, args, kwargs, tracked=False)
        name, original = bound_early()[func]
        return tracer.call_function(op_name(name, args, kwargs), original, args, kwargs, tracked=True)


_FLAGS = ("requires_grad", "is_leaf", "grad_fn", "grad")


@speaks_for_user
def _attribute(tracer: Recording, func: Any, name: str, args: tuple[Any, ...]) -> Any:
    """``tensor.name`` or ``tensor.name = value``, which is recorded if it gives or takes a tensor."""
    if func.__name__ == "__set__":
        return tracer.compute(setattr, (args[0], name, args[1]))
    tensor = args[0]
    if name in _FLAGS:
        held = tensor if type(tensor) is TracedTensor else tracer.attributes.stand_in(tensor)
        return tracer.answers.flag_of(held, name)
    value = getattr(tensor._value if type(tensor) is TracedTensor else tensor, name)
    return tracer.compute(getattr, (tensor, name)) if isinstance(value, Tensor) else value
