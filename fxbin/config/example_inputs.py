"""Example inputs for a model, made from the `input_info` of its config."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fxbin.errors import ConfigError, TransformError

if TYPE_CHECKING:
    from fxbin.config import Config, InputInfo

SEED = 0


def example_inputs(
    config: "Config", model: nn.Module | None = None
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Positional and keyword arguments for the model's forward, on the CPU.

    Elements of `input_info` without `keyword` are positional, in their order. `type` ``"long"`` gives
    int64, ``"float"`` float32, as in NNCF 2.9; without it, inputs have the dtype of the first floating-point
    parameter of `model`, or float32. `filler` is ``"ones"``, ``"zeros"`` or ``"random"``: uniform on [0, 1),
    or 0 and 1 for int64, the same values at every call. The global random state does not change, so that
    tracing a model does not affect its training.

    Errors: ConfigError if there is no `input_info`, a `sample_size` is missing or empty or has an entry
            that is not positive, or two elements have the same keyword.
    """
    if not config.input_info:
        raise ConfigError(
            "input_info: the config has none, so the shape of the model's input is unknown. "
            'Add for example "input_info": {"sample_size": [1, 3, 224, 224]}.'
        )
    generator = torch.Generator().manual_seed(SEED)
    dtype = dtype_of(model)
    positional: list[Tensor] = []
    named: dict[str, Tensor] = {}
    for index, info in enumerate(config.input_info):
        value = _fill(index, info, generator, dtype)
        if info.keyword is None:
            positional.append(value)
        elif info.keyword in named:
            raise ConfigError(f"input_info[{index}].keyword: {info.keyword!r} is used twice")
        else:
            named[info.keyword] = value
    return tuple(positional), named


def dtype_of(model: nn.Module | None) -> torch.dtype:
    """The dtype of the first floating-point parameter of `model`; float32 if there is none."""
    parameters = () if model is None else model.parameters()
    return next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)


def _fill(index: int, info: "InputInfo", generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    shape = tuple(info.sample_size)
    if not shape or any(size < 1 for size in shape):
        raise ConfigError(
            f"input_info[{index}].sample_size: expected positive sizes such as [1, 3, 224, 224], "
            f"got {list(shape)}"
        )
    if info.type is not None:
        dtype = torch.int64 if info.type == "long" else torch.float32
    if info.filler == "random":
        if dtype == torch.int64:
            return torch.randint(2, shape, generator=generator)
        return torch.rand(shape, generator=generator).to(dtype)
    if info.filler in ("ones", "zeros"):
        return torch.full(shape, 1 if info.filler == "ones" else 0, dtype=dtype)
    raise ConfigError(
        f'input_info[{index}].filler: expected "ones", "zeros" or "random", got {info.filler!r}'
    )


def given_inputs(
    model: nn.Module, config: "Config", args: tuple[Any, ...] | None, kwargs: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """`args` and `kwargs` for the model's forward; if both are None, `example_inputs` of the config.

    Raises TransformError if `args` is not a tuple, and ConfigError as `example_inputs` does.
    """
    if args is None and kwargs is None:
        return example_inputs(config, model)
    if args is not None and not isinstance(args, tuple):
        raise TransformError(
            f"example_inputs: expected a tuple of positional inputs, got {type(args).__name__}; "
            "write (x,) for one input"
        )
    return args or (), kwargs or {}
