"""Flags of a module as numbers in buffers, where state_dicts, averaging and other code can reach them."""

from contextlib import ExitStack

import torch
from torch import Tensor

from fxbin import torch_private
from fxbin.errors import TransformError


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
        # At hand, as each forward of each binarizer asks them.
        self._tracing_state = torch_private.tracing_state
        self._count_dispatch_modes = torch_private.count_dispatch_modes
        self._has_transforms = torch_private.has_transforms

    def read(self, flag: Tensor | None, known: float) -> float:
        """The number in `flag`, or `known`, its last value, if `flag` holds none (a meta or fake tensor)."""
        assert flag is not None
        # Every forward of every binarizer comes here, so each attribute look-up counts.
        if flag.is_cpu and not (
            self._tracing_state() or self._count_dispatch_modes() or self._has_transforms()
        ):
            return flag.item()
        if type(flag) is not Tensor or flag.is_meta:
            return known
        flag = _unwrapped(flag)
        if self._seen is not None and self._seen[0] is flag and self._seen[1] == torch_private.version(flag):
            return known
        value = _value(flag)
        if not flag.is_cpu:
            self._seen = flag, torch_private.version(flag)
        return value

    def __reduce__(self) -> tuple[type["FlagReader"], tuple[()]]:
        return FlagReader, ()


def _unwrapped(flag: Tensor) -> Tensor:
    """The tensor inside the wrappers of `torch.func` around `flag`."""
    while torch_private.is_wrapped(flag):
        flag = torch_private.unwrapped(flag)
    return flag


def _value(flag: Tensor) -> float:
    """Read `flag` outside of all modes and tracers; TransformError if vmap has stacked unequal flags."""
    state = torch_private.tracing_state()
    with ExitStack() as stack:
        stack.enter_context(torch_private.without_dispatch_modes())
        stack.enter_context(
            torch_private.WithoutTransforms()
        )  # or torch 2.9 wraps the tensor read here again
        torch_private.set_tracing_state(None)
        stack.callback(torch_private.set_tracing_state, state)
        values = {float(value) for value in flag.detach().flatten().tolist()}
    if len(values) != 1:
        raise TransformError(
            "torch.func: the models that are mapped over are in different stages: "
            "switch the same binarizers on in all of them"
        )
    return values.pop()
