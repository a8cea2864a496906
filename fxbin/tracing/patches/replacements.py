"""The replacements of functions and methods of torch and Python during a trace."""

import builtins
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.tracing.patches.asked import about_all, about_one, is_of_torch
from fxbin.tracing.patches.replacement import Replacement, Sample, node_of
from fxbin.tracing.recorder.attributes import traced
from fxbin.tracing.recorder.call_targets import CallMapped, CallScripted, CheckAll
from fxbin.tracing.recorder.location import home_of
from fxbin.tracing.recorder.reads import OF_EACH_MODULE
from fxbin.tracing.values.active import active_tracer, is_tracing, paused
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.content import ContentError
from fxbin.tracing.values.numbers import TracedSize, TracedValue
from fxbin.tracing.values.tensor import TracedTensor

_length = len  # while a model is traced, the built-in is another one

_LIBRARIES = ("torch.", "fxbin.", "copy.", "copyreg.")
"""Code that reads ``vars(module)`` for its own ends, not for what a forward computes."""


def _module_call(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        tracer = active_tracer()
        if tracer is None:
            return original(module, *args, **kwargs)
        return tracer.modules.call(original, module, args, kwargs)

    return call


def _module_getattribute(original: Callable[..., Any]) -> Callable[..., Any]:
    """Replace ``module.name`` for plain attributes; see `_module_getattr` for the others."""

    @speaks_for_user
    def get(module: nn.Module, name: str) -> Any:
        value = original(module, name)
        if name not in OF_EACH_MODULE:  # first, because most lookups are of these
            tracer = active_tracer()
            if tracer is not None:
                tracer.state.note_read(module, name, value)
        elif name == "__dict__" and not home_of(sys._getframe(1)).startswith(_LIBRARIES):
            tracer = active_tracer()
            if tracer is not None:
                tracer.state.note_all_read(module)
        return value

    return get


def _module_getattr(original: Callable[..., Any]) -> Callable[..., Any]:
    def get(module: nn.Module, name: str) -> Any:
        tracer = active_tracer()
        try:
            value = original(module, name)
        except AttributeError:
            if tracer is not None:
                tracer.state.note_read(module, name, None)
            raise
        if tracer is not None and value is None:
            tracer.state.note_read(module, name, value)
        if tracer is None or not isinstance(value, Tensor) or type(value) is TracedTensor:
            return value
        return tracer.attributes.stand_in(value)

    return get


def _module_setattr(original: Callable[..., Any]) -> Callable[..., Any]:
    def assign(module: nn.Module, name: str, value: Any) -> None:
        tracer = active_tracer()
        if tracer is not None:
            tracer.state.note_assigned(module, name, value)
            if type(value) is TracedTensor:
                tracer.state.assign(module, name, value)
        original(module, name, value)

    return assign


def _scripted_call(original: Callable[..., Any]) -> Callable[..., Any]:
    @speaks_for_user
    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        tracer = active_tracer()
        if tracer is None:
            return original(function, *args, **kwargs)
        target = CallScripted(function)
        return tracer.call_function(target.__name__, target, args, kwargs, tracked=False)

    return call


def _vmap(original: Callable[..., Any]) -> Callable[..., Any]:
    def vmap(
        function: Callable[..., Any], in_dims: Any, out_dims: Any, randomness: Any, chunk_size: Any,
        *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        tracer = active_tracer()
        if tracer is None:
            return original(function, in_dims, out_dims, randomness, chunk_size, *args, **kwargs)
        # It calls the function with tensors that cannot be traced.
        target = CallMapped(original, function, (in_dims, out_dims, randomness, chunk_size))
        run = target if tracer.position.with_data else target.on_shapes
        return tracer.call_opaque(target, run, args, kwargs)

    return vmap


def _gradients(original: Callable[..., Any]) -> Callable[..., Any]:
    @speaks_for_user
    def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        tracer = active_tracer()
        if tracer is None:
            return original(outputs, inputs, *args, **kwargs)
        if not tracer.position.knows_values:
            raise ContentError("torch.autograd.grad is called, which needs what autograd keeps in a real run")
        # Only names are wanted here, so any numbers will do.
        return tuple(torch.zeros_like(x) for x in ((inputs,) if isinstance(inputs, Tensor) else inputs))

    return grad


def _training(_: None) -> property:
    """Replace ``module.training`` by a property of the class, which overrides each module's attribute."""
    return property(_mode, _set_mode, _delete_mode)


@speaks_for_user
def _mode(module: nn.Module) -> bool:
    try:
        mode: bool = vars(module)["training"]
    except KeyError:
        raise AttributeError("training") from None  # a scripted module keeps it elsewhere
    tracer = active_tracer()
    if tracer is not None:
        tracer.state.look_at_mode(module, mode)
    return mode


def _set_mode(module: nn.Module, mode: bool) -> None:
    tracer = active_tracer()
    if tracer is not None:
        tracer.state.switch_mode(module)
    vars(module)["training"] = mode


@speaks_for_user
def _delete_mode(module: nn.Module) -> None:
    del vars(module)["training"]


class _Len:
    """Replaces the built-in `len`, also in other threads, because all threads share built-in names."""

    __name__ = "len"

    def __init__(self, original: Callable[[Any], int]) -> None:
        self._stands_for = original

    @speaks_for_user
    def __call__(self, item: Any, /) -> Any:
        # A method __len__ must return a plain number, and so would make the size of a batch a constant.
        if type(item) is TracedTensor and active_tracer() is not None:
            return item.shape[0]
        if type(item) is TracedSize and item.rank is not None and active_tracer() is not None:
            return item.rank()
        return self._stands_for(item)

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("len",)


def _number_limits(original: Callable[..., Any]) -> Callable[..., Any]:
    @speaks_for_user
    def limits(*dtype: Any) -> Any:
        tracer = active_tracer()
        if tracer is None or not dtype or type(dtype[0]) is not TracedValue:
            return original(*dtype)
        return tracer.compute(original, dtype)

    return limits


def _check(original: Callable[..., Any]) -> Callable[..., Any]:
    def check(error: Any, condition: Any, message: Any) -> None:
        # `torch._check` requires a condition of the actual type bool.
        original(error, bool(condition) if type(condition) is TracedValue else condition, message)

    return check


def _check_content(original: Callable[..., Any]) -> Callable[..., Any]:
    def check(error: Any, condition: Any, message: Any) -> None:
        tracer = active_tracer()
        if tracer is None:
            original(error, condition, message)
        else:
            target = CheckAll(original, error, message)
            tracer.call_opaque(
                target, target if tracer.position.with_data else lambda _: None, (condition,), {}
            )

    return check


def _has_torch_function(original: Callable[..., Any]) -> Callable[..., Any]:
    @speaks_for_user
    def has_torch_function(args: Any) -> Any:
        if active_tracer() is not None and not is_of_torch(sys._getframe(1)):
            return about_all(args)
        # Attention layers ask this about all their inputs, and would take another path than without a
        # tracer. `torch._assert` asks about its condition alone, and is recorded if the answer is yes.
        return original(args) if active_tracer() is None or _length(args) == 1 else False

    return has_torch_function


def _variable(original: Callable[..., Any]) -> Callable[..., Any]:
    @speaks_for_user
    def make(kind: type, *args: Any, **kwargs: Any) -> Any:
        # `Variable(x)` in old code creates a new tensor of the same memory, which the tracer does not see.
        if args and type(args[0]) is TracedTensor and active_tracer() is not None:
            x = args[0]
            with paused():
                return traced(x._value, x._node, tracked=False, source=x._source)
        return original(kind, *args, **kwargs)

    return make


def _verify_batch_size(original: Callable[..., Any]) -> Callable[..., Any]:
    def verify(size: Any) -> None:
        # A statistic of one value per channel is an error at run time, but not during a trace.
        if not is_tracing():
            original(size)

    return verify


def _layer() -> nn.Module:
    """A layer whose construction draws no random numbers."""
    with paused():
        return nn.PReLU(1)


def _refuses_gradients(sample: Sample) -> bool:
    with suppress(ContentError):
        torch.autograd.grad(sample.x, sample.x)
        return False
    return True


def _reads(sample: Sample) -> bool:
    root: Any = sample.tracer.root
    vars(root)["setting"] = 3
    return root.setting == 3 and "setting" in [read.name for read in sample.tracer.state.reads.all]


def _assigns(sample: Sample) -> bool:
    root: Any = sample.tracer.root
    root.answer = 42
    return root in sample.tracer.state.assigned


def _looks_at_mode(sample: Sample) -> bool:
    layer = _layer()
    return layer.training and layer in sample.tracer.state.modes


def _normalizes_one_value(sample: Sample) -> bool:
    F.group_norm(sample.x, 1)
    return True  # or torch refuses it


CALLS = (
    Replacement(nn.Module, "__call__", _module_call, lambda s: node_of(_layer()(s.x)).op == "call_module"),
    Replacement(nn.Module, "__getattr__", _module_getattr, lambda _: type(_layer().weight) is TracedTensor),
    Replacement(nn.Module, "__getattribute__", _module_getattribute, _reads),
    Replacement(nn.Module, "__setattr__", _module_setattr, _assigns),
    Replacement(nn.Module, "training", _training, _looks_at_mode),
    Replacement(
        torch.jit.ScriptFunction,
        "__call__",
        _scripted_call,
        lambda s: type(node_of(s.scripted(s.x)).target) is CallScripted,
    ),
    Replacement(
        type(torch.autograd.Variable),
        "__call__",
        _variable,
        lambda s: node_of(torch.autograd.Variable(s.x)) is s.x._node,
    ),
    Replacement(
        *torch_private.place("vmap"),
        _vmap,
        lambda s: type(node_of(torch.vmap(torch.neg)(s.x)).target) is CallMapped,
    ),
    Replacement(torch.autograd, "grad", _gradients, _refuses_gradients),
    Replacement(*torch_private.place("check"), _check, lambda s: torch._check(s.x.shape[0] > 0) is None),
    Replacement(
        *torch_private.place("check_all"),
        _check_content,
        lambda s: torch_private.check_tensor_all(s.x > 0) is None and type(s.last.target) is CheckAll,
    ),
    Replacement(torch, "finfo", _number_limits, lambda s: node_of(torch.finfo(s.x.dtype))),
    Replacement(torch, "iinfo", _number_limits, lambda s: node_of(torch.iinfo(s.x.int().dtype))),
    Replacement(
        torch.overrides,
        "has_torch_function",
        _has_torch_function,
        lambda s: torch.overrides.has_torch_function((s.x, s.x)) is False,
    ),
    Replacement(
        torch.overrides,
        "has_torch_function_unary",
        about_one,
        lambda s: not torch.overrides.has_torch_function_unary(s.x),
    ),
    Replacement(
        torch.overrides,
        "has_torch_function_variadic",
        about_one,
        lambda s: not torch.overrides.has_torch_function_variadic(s.x, s.x),
    ),
    Replacement(*torch_private.place("verify_batch_size"), _verify_batch_size, _normalizes_one_value),
    Replacement(builtins, "len", _Len, lambda s: node_of(len(s.x))),
)
