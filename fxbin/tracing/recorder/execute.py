"""Runs one operator on values without data, to learn shapes and dtypes."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxbin import torch_private
from fxbin.graph.containers import map_nested
from fxbin.tracing.values.bugs import as_asked, speaks_for_user
from fxbin.tracing.values.content import ContentError
from fxbin.tracing.values.tensor import TracedTensor

_MOVES = frozenset({"cpu", "cuda", "xpu", "ipu", "mtia", "pin_memory"})
_RANDOM = frozenset(
    {
        "rand", "randn", "randint", "randperm", "normal", "empty", "empty_strided", "empty_permuted",
        "rand_like", "randn_like", "randint_like", "empty_like", "new_empty", "new_empty_strided",
        "bernoulli", "bernoulli_", "uniform_", "normal_", "random_", "exponential_", "cauchy_",
        "geometric_", "log_normal_", "multinomial", "poisson", "binomial", "dropout", "dropout_",
        "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "rrelu", "gumbel_softmax",
    }
)  # fmt: skip
"""Operators whose result differs between runs, so that a trace must not rely on it."""

_LIKE_INPUT = frozenset({"batch_norm", "instance_norm"})
"""Operators whose meta kernel computes statistics: slow, and impossible for one value per channel."""

_ACTIVATIONS = frozenset(
    {
        "relu", "relu6", "hardtanh", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus",
        "hardswish", "hardsigmoid", "threshold",
    }
)  # fmt: skip
"""Element-wise operators, whose meta kernels take ten times as long as making an empty tensor."""

_SAME_SHAPE = _LIKE_INPUT | _ACTIVATIONS
_CREATE = frozenset({"zeros", "ones", "full", "eye", "arange", "range", "linspace", "logspace"})
LARGEST_CONSTANT = 2**18
"""Number of elements up to which constants are computed during a trace, so that code can read them."""


def execute(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    device: torch.device,
    *,
    with_data: bool = False,
) -> Any:
    """Run ``function(*args, **kwargs)`` on `device`, whichever device the model asks for.

    Large constants are created without data, unless `with_data`. Raises ContentError if the operator needs
    the content of a tensor on the meta device.
    """
    if name in _MOVES:
        return args[0]

    def on_device(item: Any) -> Any:
        return device if type(item) is torch.device else item

    args, kwargs = map_nested(args, on_device), map_nested(kwargs, on_device)
    if isinstance(kwargs.get("device"), str | int):
        kwargs = {**kwargs, "device": device}
    if name == "to" and len(args) > 1 and isinstance(args[1], str):
        args = (args[0], device, *args[2:])
    if device.type == "meta" and name.rstrip("_") in _SAME_SHAPE:
        return _like_input(name, args, kwargs)
    if name in _CREATE and device.type == "cpu" and not with_data:
        return _created(function, args, kwargs)
    if name in _RANDOM and "device" not in kwargs and device.type == "meta" and not _holds_tensor(args):
        kwargs = {**kwargs, "device": device}
    try:
        result = as_asked(function, *args, **kwargs)
        return _in_layout(result, (*args, *kwargs.values())) if name == "conv2d" else result
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error).lower() or device.type != "meta":
            raise
        return _without_kernel(name, function, args, kwargs, error)


@speaks_for_user
def _like_input(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x = args[0] if args else kwargs["input"]
    is_flag = name in _ACTIVATIONS and len(args) > 1 and args[-1] is True
    return x if name.endswith("_") or kwargs.get("inplace") or is_flag else torch.empty_like(x)


@speaks_for_user
def _in_layout(result: Tensor, given: tuple[Any, ...]) -> Tensor:
    """Convert the result of a convolution to channels-last if an input is; the meta kernel does not."""
    if not result.is_meta or not any(isinstance(x, Tensor) and _is_channels_last(x) for x in given):
        return result
    return result.contiguous(memory_format=torch.channels_last)


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _created(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Create a constant, on the meta device if it is large."""
    empty: Tensor = as_asked(function, *args, **{**kwargs, "device": "meta"})
    if empty.numel() > LARGEST_CONSTANT:
        return empty
    small: Tensor = as_asked(function, *args, **kwargs)
    return small


def _holds_tensor(args: tuple[Any, ...]) -> bool:
    return any(isinstance(arg, Tensor) for arg in args)


def _without_kernel(
    name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> Any:
    """Run an operator without meta kernel on ones, if its shapes do not depend on the content."""
    found = re.search(torch_private.META_KERNEL, str(error))
    operator = found and getattr(getattr(torch.ops, found[1]), found[2], None)
    if operator is None or _looks_at_content(operator):
        raise ContentError(
            f"{name} needs the content of a tensor, which is known only when the model runs"
        ) from error

    def with_data(item: Any) -> Any:
        return torch.ones_like(item, device="cpu") if isinstance(item, Tensor) and item.is_meta else item

    result = as_asked(function, *map_nested(args, with_data), **map_nested(kwargs, with_data))
    return map_nested(result, lambda item: item.to("meta") if isinstance(item, Tensor) else item)


def _looks_at_content(operator: Any) -> bool:
    tags = {tag for name in operator.overloads() for tag in getattr(operator, name).tags}
    return bool(tags & {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})


@speaks_for_user
def common_device(name: str, tensors: list[TracedTensor], data_device: torch.device | None) -> torch.device:
    """The device on which operator `name` runs; moves `tensors` there permanently.

    If any of them has no data, the result has none either: only what depends on constants alone is computed.
    `data_device` is the device of a run in which all tensors have data, None in others.
    """
    if data_device is not None:
        return data_device
    if name not in _RANDOM and not any(tensor._value.is_meta for tensor in tensors):
        return torch.device("cpu")
    for tensor in tensors:
        if not tensor._value.is_meta and tensor._value.dim() > 0:
            tensor._value = tensor._value.to("meta")
    return torch.device("meta")
