"""Records each call of a `torch.autograd.Function` as one node, which keeps the custom backward.

Code may have taken a reference to ``MyFunction.apply`` long before a trace, and in torch 2.14 that is a C
function. It always looks up ``forward`` on the class, however, so that lookup is what is replaced.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionMeta
from torch.utils.checkpoint import CheckpointFunction

from fxbin import torch_private
from fxbin.tracing.patches.replacement import Replacement, Sample, node_of
from fxbin.tracing.recorder.autograd_forward import ForwardContext, has_setup, replace_returned, run_forward
from fxbin.tracing.recorder.call_targets import ApplyFunction
from fxbin.tracing.values.active import active_tracer, paused
from fxbin.tracing.values.bugs import as_asked, speaks_for_user

Function = type[torch.autograd.Function]


def _answers(original: Callable[[Function, str], Any]) -> Callable[[Function, str], Any]:
    """Replace the attribute lookup of autograd function classes, so that calls of `apply` are recorded.

    `apply` looks up three attributes, in this order: ``_backward_cls``, to create a context; ``forward``, to
    call it; and ``setup_context``, if there is one. Other code that looks up the last two gets the originals.
    """
    begun: tuple[Function, bool] | None = None
    recorded: Function | None = None

    @speaks_for_user
    def answer(function: Function, name: str) -> Any:
        nonlocal begun, recorded
        found = original(function, name)
        tracer = active_tracer()
        if tracer is None:
            return found
        if name == torch_private.BACKWARD_CLASS:
            with paused():
                begun = function, torch.is_grad_enabled()
        elif name == "forward" and begun is not None and begun[0] is function:
            is_learning, begun = begun[1], None
            return partial(forward, function, is_learning)
        elif name == "setup_context" and recorded is function:
            recorded = None
            return _nothing
        return found

    def forward(function: Function, is_learning: bool, *args: Any) -> Any:
        nonlocal recorded
        if not has_setup(function):
            args = args[1:]  # without torch's own context
        result = _record(function, is_learning, args)
        if has_setup(function):
            recorded = function
        return result

    return answer


def _record(function: Function, is_learning: bool, args: tuple[Any, ...]) -> Any:
    tracer = active_tracer()
    assert tracer is not None
    if function is CheckpointFunction:
        # Checkpointing changes memory, not numbers, so the wrapped function simply runs. torch, which has
        # disabled gradients for it, restores the flag afterwards.
        with paused():
            torch.set_grad_enabled(is_learning)
        return as_asked(args[0], *args[2:])
    result = tracer.call_whole(
        ApplyFunction(function), lambda *values: run_forward(function, values), args, {}
    )
    # torch returns new tensors in place of inputs that a function returns.
    return replace_returned(args, result)


def _nothing(*_: Any) -> None:
    """Replaces a ``setup_context`` that has been called already, with the context of the tracer."""


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        _refuse(ctx)
        return x * 2


class _DoubleWithSetup(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004
        _refuse(ctx)


def _refuse(ctx: Any) -> None:
    if type(ctx) is not ForwardContext:
        raise TypeError("torch calls it with a context of its own")


_functions: tuple[Any, ...] = (_Double, _DoubleWithSetup)
_bound_early = [function.apply for function in _functions]


def _are_recorded(sample: Sample) -> bool:
    calls = [*_bound_early, *(function.apply for function in _functions)]
    return all(type(node_of(apply(sample.x)).target) is ApplyFunction for apply in calls)


FUNCTIONS = (Replacement(FunctionMeta, "__getattribute__", _answers, _are_recorded),)
