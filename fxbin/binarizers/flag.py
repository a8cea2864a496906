"""Flags of a module as numbers in buffers, where state_dicts, averaging and other code can reach them."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from fxbin.errors import TransformError

_tracing_state: Callable[[], Any] = torch._C._get_tracing_state
_dispatch_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack
_is_in_torch_func: Callable[[], bool] = torch._C._are_functorch_transforms_active


def new_flag() -> Tensor:
    """A new flag that is off: float32 ``[1]`` on the CPU, where it stays.

    On the CPU forward can read it without waiting for a device. It is not an integer, because code that
    averages weights rounds averages of integers down, or skips integers; a float average of 0 and 1 is above
    0, which means on.
    """
    return torch.zeros(1, dtype=torch.float32, device="cpu")


def as_flag(tensor: Tensor) -> Tensor:
    """`tensor` as a flag, float32 on the CPU; `tensor` itself if it is that or a meta tensor."""
    is_one = tensor.is_meta or (tensor.is_cpu and tensor.dtype is torch.float32)
    return tensor if is_one else tensor.detach().to("cpu", torch.float32)


class FlagReader:
    """Reads the current number of one flag, whichever tensor holds it and whatever wrote it.

    A flag on the CPU is read each time. One on another device, where `fully_shard` and `functional_call` may
    put it, is read again only after a write, as reading waits for the device.
    """

    def __init__(self) -> None:
        self._seen: tuple[Tensor, int] | None = None

    def read(self, flag: Tensor | None, known: float) -> float:
        """The number in `flag`, or `known`, its last value, if `flag` holds none (a meta or fake tensor)."""
        assert flag is not None
        # Every forward of every binarizer comes here, so each attribute look-up counts.
        if flag.is_cpu and not (_tracing_state() or _dispatch_modes() or _is_in_torch_func()):
            return flag.item()
        if type(flag) is not Tensor or flag.is_meta:
            return known
        flag = _unwrapped(flag)
        if self._seen is not None and self._seen[0] is flag and self._seen[1] == flag._version:
            return known
        value = _value(flag)
        if not flag.is_cpu:
            self._seen = flag, flag._version
        return value

    def __reduce__(self) -> tuple[type["FlagReader"], tuple[()]]:
        return FlagReader, ()


def _unwrapped(flag: Tensor) -> Tensor:
    """The tensor inside the wrappers of `torch.func` around `flag`."""
    while torch._C._functorch.is_functorch_wrapped_tensor(flag):
        flag = torch._C._functorch.get_unwrapped(flag)
    return flag


def _value(flag: Tensor) -> float:
    """Read `flag` outside of all modes and tracers; TransformError if vmap has stacked unequal flags."""
    state = _tracing_state()
    with ExitStack() as stack:
        stack.enter_context(_disable_current_modes())
        stack.enter_context(torch._C._DisableFuncTorch())  # or torch 2.9 wraps the tensor read here again
        torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
        stack.callback(torch._C._set_tracing_state, state)  # type: ignore[attr-defined]
        values = {float(value) for value in flag.detach().flatten().tolist()}
    if len(values) != 1:
        raise TransformError(
            "torch.func: the models that are mapped over are in different stages: "
            "switch the same binarizers on in all of them"
        )
    return values.pop()
