"""Flags of a module as numbers in its buffers, which is where everybody else reads and writes them."""

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
    """A flag that is off: float32 ``[1]`` on the CPU, where it stays.

    There forward can read it without waiting for a device. It is no integer, as weights are averaged by code
    that rounds averages of integers down, or leaves them out: of 0 and 1 any average is above 0.
    """
    return torch.zeros(1, dtype=torch.float32, device="cpu")


def as_flag(tensor: Tensor) -> Tensor:
    """What was assigned in place of a flag, as one; itself if it is."""
    is_one = tensor.is_meta or (tensor.is_cpu and tensor.dtype is torch.float32)
    return tensor if is_one else tensor.detach().to("cpu", torch.float32)


class FlagReader:
    """Reads one flag, whatever object holds it and whoever wrote it, each time anew.

    Only one that is not on the CPU, which `fully_shard` and `functional_call` can bring about, is read again
    only after it was written, as that waits for its device.
    """

    def __init__(self) -> None:
        self._seen: tuple[Tensor, int] | None = None

    def read(self, flag: Tensor | None, known: float) -> float:
        """The number in `flag`; `known`, what it was last, where there is none to be had."""
        assert flag is not None
        # At each forward of each binarizer, so that every look-up counts.
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
    """What a transform of `torch.func` has wrapped."""
    while torch._C._functorch.is_functorch_wrapped_tensor(flag):
        flag = torch._C._functorch.get_unwrapped(flag)
    return flag


def _value(flag: Tensor) -> float:
    state = _tracing_state()
    with ExitStack() as stack:
        stack.enter_context(_disable_current_modes())
        stack.enter_context(torch._C._DisableFuncTorch())  # torch 2.9 would wrap what is read anew
        torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
        stack.callback(torch._C._set_tracing_state, state)  # type: ignore[attr-defined]
        values = {float(value) for value in flag.detach().flatten().tolist()}
    if len(values) != 1:
        raise TransformError(
            "torch.func: the models that are mapped over are in different stages: "
            "switch the same binarizers on in all of them"
        )
    return values.pop()
