"""The forward of a `torch.autograd.Function` while a model is traced."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from fxbin.tracing.recorder.attributes import traced
from fxbin.tracing.values.active import paused
from fxbin.tracing.values.bugs import speaks_for_user
from fxbin.tracing.values.tensor import TracedTensor


class ForwardContext:
    """The `ctx` that a traced autograd function gets: it accepts everything, and keeps little."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.needs_input_grad = tuple(isinstance(arg, Tensor) for arg in args)
        self.saved_tensors: tuple[Any, ...] = ()
        self.dirty: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep the tensors that a forward may read back."""
        self.saved_tensors = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *tensors: Any) -> None:
        """Note which inputs were changed in place, so that the results are the same objects."""
        self.dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Do nothing, because nothing is differentiated."""

    def set_materialize_grads(self, value: bool) -> None:
        """Do nothing, because nothing is differentiated."""


@speaks_for_user
def run_forward(function: type[torch.autograd.Function], args: tuple[Any, ...]) -> Any:
    """Run the forward of `function` alone, with or without a separate ``setup_context``."""
    context: Any = ForwardContext(args)
    if has_setup(function):
        result = function.forward(*args)
        function.setup_context(context, args, result)
    else:
        result = function.forward(context, *args)
    kept = [arg for arg in args if not any(arg is dirty for dirty in context.dirty)]
    return replace_returned(kept, result)


def has_setup(function: type[torch.autograd.Function]) -> bool:
    """Whether `function` has a ``setup_context``, as `torch.func` needs; its forward gets no context then."""
    return function.setup_context is not torch.autograd.Function.setup_context


def replace_returned(tensors: Iterable[Any], result: Any) -> Any:
    """`result` with new tensors of the same content in place of those of `tensors` that it contains.

    torch does so with inputs that a function returns: the result has the custom backward in its history,
    which the input does not.
    """

    def new(item: Any) -> Any:
        if type(item) is not TracedTensor or not any(item is tensor for tensor in tensors):
            return item
        with paused():
            made = traced(item._value, item._node, tracked=False)
        made._requires_grad = item._requires_grad
        return made

    return tuple(map(new, result)) if isinstance(result, tuple) else new(result)
