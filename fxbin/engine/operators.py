"""The operators ``torch.ops.fxbin.*``, which torch.compile and torch.export support as well."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fxbin.engine.binary_conv2d import BinaryConv2d
from fxbin.engine.in_float import run_in_float
from fxbin.engine.int8_conv2d import INT8_CONV2D, fake_int8_conv2d, int8_conv2d
from fxbin.engine.library import engine
from fxbin.engine.native import run_natively
from fxbin.errors import EngineError

_INPUTS = (
    "Tensor x, Tensor thresholds, Tensor x_levels, Tensor weight_bits, Tensor w_levels, Tensor? bias=None, "
    "Tensor? residual=None, Tensor? slope=None"
)
_OPTIONS = (
    "int[2] kernel_size, int[2] stride=1, int[4] padding=0, int[2] dilation=1, int groups=1, "
    "str activation='none', str? kernel_name=None, bool takes_bits=True"
)
BINARY_CONV2D = f"binary_conv2d({_INPUTS}, *, {_OPTIONS}) -> Tensor"
TO_BITS = f"binary_conv2d_to_bits({_INPUTS}, *, Tensor y_thresholds, {_OPTIONS}) -> Tensor"
AND_BITS = f"binary_conv2d_and_bits({_INPUTS}, *, Tensor y_thresholds, {_OPTIONS}) -> (Tensor, Tensor)"
NOT_DIFFERENTIABLE = (
    "a layer in 1 bit or int8 has no gradient. Train the model that fxbin.transform returned, even if only "
    "layers before it are to be trained, and deploy it afterwards"
)

WITHOUT_BACKWARD = "without_backward(Tensor y, Tensor x) -> Tensor"
NO_GRADIENT = "no_gradient(Tensor grad, SymInt[] size) -> Tensor"


def binary_conv2d(
    x: Tensor,
    thresholds: Tensor,
    x_levels: Tensor,
    weight_bits: Tensor,
    w_levels: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    slope: Tensor | None = None,
    *,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0, 0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
    activation: str = "none",
    kernel_name: str | None = None,
    takes_bits: bool = True,
) -> Tensor:
    """Convolve two-level inputs and weights: on bits on a CPU with the engine, else in float.

    Both give the same floats: sums are integers, and all that follows is computed in the same order.

    Args:
        x: ``(n, c, h, w)``, of any floating dtype and strides; or bits of `binary_conv2d_to_bits`, int64
            ``(n, ceil(c / 64), h, w)``.
        thresholds: that of each channel, ``(c,)``, in the dtype of x. An input is high where
            ``x > thresholds``. If x is bits, they are float32, and only their number matters.
        x_levels: float32 ``(2,)``, low and high.
        weight_bits: uint8 ``(f, kh * kw, ceil(c / groups / 8))``, see `fxbin.engine.signs.pack_signs`.
        w_levels: float32 ``(2, f)``: for each filter, the weight where the bit is 0, and where it is 1.
        bias: float32 ``(f,)``.
        residual: ``(n, f, oh, ow)`` or a shape that broadcasts to it, in the dtype of the output; it is added
            before the activation.
        slope: float32 ``(f,)``, for the activation "prelu".
        kernel_size: height, width.
        stride: vertical, horizontal.
        padding: rows of zeros above and below, columns on the left and on the right.
        dilation: vertical, horizontal.
        groups: as for `F.conv2d`.
        activation: one of `fxbin.engine.binary_conv2d.ACTIVATIONS`; "hardtanh" limits values to [-1, 1].
        kernel_name: one of `Engine.kernels`, for tests; by default the fastest.
        takes_bits: whether x may be bits. False for an input of a model, where integers are a mistake.

    Returns:
        ``(n, f, oh, ow)`` in the dtype of x, or in float32 if x is bits; in channels_last if x is.

    Raises:
        EngineError: an argument has a wrong shape, dtype, device or value.
    """
    conv = BinaryConv2d.of(
        x, thresholds, x_levels, weight_bits, w_levels, bias, residual, slope,
        kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, groups=groups,
        activation=activation, takes_bits=takes_bits,
    )  # fmt: skip
    (y,) = _run(conv, kernel_name)
    return y


def binary_conv2d_to_bits(*args: Any, kernel_name: str | None = None, **kwargs: Any) -> Tensor:
    """Return the bits ``y > y_thresholds`` of the output y of `binary_conv2d`, for the next convolution.

    Args:
        args: those of `binary_conv2d`; x float32 or bits.
        kernel_name: as for `binary_conv2d`.
        kwargs: those of `binary_conv2d`, and `y_thresholds`: float32 ``(f,)``.

    Returns:
        int64 ``(n, ceil(f / 64), oh, ow)``, 64 channels per word; the first channel is the lowest bit. In
        channels_last if x is.

    Raises:
        EngineError: as for `binary_conv2d`.
    """
    (bits,) = _run(BinaryConv2d.of(*args, **kwargs, wants_floats=False), kernel_name)
    return bits


def binary_conv2d_and_bits(
    *args: Any, kernel_name: str | None = None, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Return the outputs of `binary_conv2d` and of `binary_conv2d_to_bits`, with arguments of the latter."""
    y, bits = _run(BinaryConv2d.of(*args, **kwargs), kernel_name)
    return y, bits


def _run(conv: BinaryConv2d, kernel_name: str | None) -> tuple[Tensor, ...]:
    loaded = engine() if conv.x.device.type == "cpu" else None
    if loaded is not None:
        return run_natively(loaded, conv, kernel_name)
    if kernel_name is not None:
        raise EngineError(
            f"kernel_name: got {kernel_name!r}, which the engine runs on a CPU, where it is available"
        )
    return run_in_float(conv)


def _fake(*args: Any, kernel_name: str | None = None, **kwargs: Any) -> Tensor:
    """Return a tensor like the result, without computing it: the fake kernel, for compilers."""
    del kernel_name
    return BinaryConv2d.of(*args, **kwargs).new_output()


def _fake_to_bits(*args: Any, kernel_name: str | None = None, **kwargs: Any) -> Tensor:
    del kernel_name
    return BinaryConv2d.of(*args, **kwargs).new_bits()


def _fake_and_bits(*args: Any, kernel_name: str | None = None, **kwargs: Any) -> tuple[Tensor, Tensor]:
    del kernel_name
    conv = BinaryConv2d.of(*args, **kwargs)
    return conv.new_output(), conv.new_bits()


def without_backward(y: Tensor, x: Tensor) -> Tensor:
    """Return a copy of `y`, which was computed from `x` without a gradient; its backward is an error.

    The convolutions do not have this backward themselves, because it would make a small one take a fifth more
    time.
    """
    del x
    return y.clone()


def no_gradient(grad: Tensor, size: Sequence[int]) -> Tensor:
    """Raise EngineError: the backward of `without_backward`.

    It is an operator because compilers trace every backward, whether it is called or not.
    """
    del grad, size
    raise EngineError(f"backward: {NOT_DIFFERENTIABLE}")


def _keep_size(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    del output
    ctx.size = inputs[1].shape


def _backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
    return None, torch.ops.fxbin.no_gradient(grad, ctx.size)


def _declare() -> torch.library.Library:
    library = torch.library.Library("fxbin", "FRAGMENT")
    for schema, function, fake in (
        (BINARY_CONV2D, binary_conv2d, _fake),
        (TO_BITS, binary_conv2d_to_bits, _fake_to_bits),
        (AND_BITS, binary_conv2d_and_bits, _fake_and_bits),
        (INT8_CONV2D, int8_conv2d, fake_int8_conv2d),
        (WITHOUT_BACKWARD, without_backward, without_backward),
        (NO_GRADIENT, no_gradient, lambda grad, size: grad.new_empty(size)),
    ):
        name = function.__name__
        library.define(schema, tags=[torch.Tag.pt2_compliant_tag])
        library.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"fxbin::{name}", fake, lib=library)
    torch.library.register_autograd(
        "fxbin::without_backward", _backward, setup_context=_keep_size, lib=library
    )
    return library


_LIBRARY = _declare()
"""The operators exist as long as this object does."""

OPERATORS: dict[str, Any] = {
    "floats": torch.ops.fxbin.binary_conv2d,
    "bits": torch.ops.fxbin.binary_conv2d_to_bits,
    "both": torch.ops.fxbin.binary_conv2d_and_bits,
}
"""The operators of binarized convolutions, by what they return."""
