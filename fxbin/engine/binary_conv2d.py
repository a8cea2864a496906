"""The checked arguments of one two-level convolution."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fxbin.engine.memory import is_channels_last
from fxbin.errors import EngineError

ACTIVATIONS = ("none", "relu", "prelu", "relu6", "hardtanh")
"""Names of the activations, in the order of the C enum ``fxbin_activation``."""


@dataclass(slots=True)
class BinaryConv2d:
    """The arguments of ``torch.ops.fxbin.binary_conv2d``, whose shapes and dtypes fit each other."""

    x: Tensor
    thresholds: Tensor
    x_levels: Tensor
    weight_bits: Tensor
    w_levels: Tensor
    bias: Tensor | None
    residual: Tensor | None
    slope: Tensor | None
    y_thresholds: Tensor | None
    wants_floats: bool
    """Whether y is an output. The bits ``y > y_thresholds`` are one if `y_thresholds` is not None."""
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    activation: str
    takes_bits: bool
    """Whether x may be bits. If not, integers are a mistake of whoever calls."""

    @classmethod
    def of(
        cls,
        x: Tensor,
        thresholds: Tensor,
        x_levels: Tensor,
        weight_bits: Tensor,
        w_levels: Tensor,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        slope: Tensor | None = None,
        y_thresholds: Tensor | None = None,
        *,
        wants_floats: bool = True,
        kernel_size: Sequence[int],
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0, 0, 0),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
        activation: str = "none",
        takes_bits: bool = True,
    ) -> "BinaryConv2d":
        """Create an instance of checked arguments. Raises EngineError if they do not fit."""
        (height, width), (down, across), (down_step, across_step) = kernel_size, stride, dilation
        top, bottom, left, right = padding
        conv = cls(
            x, thresholds, x_levels, weight_bits, w_levels, bias, residual, slope, y_thresholds, wants_floats,
            (height, width), (down, across), (top, bottom, left, right), (down_step, across_step),
            groups, activation, takes_bits,
        )  # fmt: skip
        conv._check()
        return conv

    @property
    def channels(self) -> int:
        """Number of channels of the input."""
        return self.thresholds.shape[0]

    @property
    def filters(self) -> int:
        """Number of channels of the output."""
        return self.weight_bits.shape[0]

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """Shape of the output: ``(n, f, oh, ow)``."""
        geometry = self.kernel_size, self.stride, self.padding, self.dilation
        return self.x.shape[0], self.filters, *output_size(self.x.shape[2:], *geometry)

    @property
    def is_channels_last(self) -> bool:
        """Whether x is in channels_last, and so the output."""
        x = self.x
        if x.dtype == torch.int64:  # one word per pixel is contiguous in both layouts
            return x.stride(1) == 1 and x.shape[2:].numel() > 1
        return is_channels_last(x)

    @property
    def output_dtype(self) -> torch.dtype:
        """Dtype of the output: that of x, or float32 if x is bits."""
        return torch.float32 if self.x.dtype == torch.int64 else self.x.dtype

    def new_output(self, dtype: torch.dtype | None = None) -> Tensor:
        """Return a tensor of undefined content for y, in `output_dtype` by default."""
        return self._new(self.output_shape, self.output_dtype if dtype is None else dtype)

    def new_bits(self) -> Tensor:
        """Return a tensor of undefined content for the bits of y, int64 ``(n, ceil(f / 64), oh, ow)``."""
        n, filters, height, width = self.output_shape
        return self._new((n, words_of(filters), height, width), torch.int64)

    def _new(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor:
        layout = torch.channels_last if self.is_channels_last else torch.contiguous_format
        return torch.empty(shape, dtype=dtype, device=self.x.device, memory_format=layout)

    def _check(self) -> None:
        if self.weight_bits.dim() != 3:
            raise EngineError(f"weight_bits: expected 3 axes, got {tuple(self.weight_bits.shape)}")
        self._check_input()
        self._check_constants()
        self._check_geometry()
        if self.residual is not None:
            self.residual = _broadcast(self.residual, self.output_shape)
            _check("residual", self.residual, self.output_shape, self.output_dtype, self.x.device)

    def _check_input(self) -> None:
        x, is_bits = self.x, self.takes_bits and self.x.dtype == torch.int64
        if x.dim() != 4 or not (is_bits or x.is_floating_point()):
            expected = "floats (n, c, h, w), or bits in int64" if self.takes_bits else "floats (n, c, h, w)"
            advice = "" if x.is_floating_point() else "; cast it: x.float()"
            raise EngineError(f"x: expected {expected}, got {x.dtype} {tuple(x.shape)}{advice}")
        if self.thresholds.dim() != 1:
            raise EngineError(f"thresholds: expected 1 axis, got {tuple(self.thresholds.shape)}")
        size, unit = (words_of(self.channels), "words") if is_bits else (self.channels, "channels")
        if x.shape[1] != size:
            raise EngineError(
                f"x: expected {size} {unit} for {self.channels} thresholds, got {tuple(x.shape)}"
            )
        if self.groups < 1 or self.channels % self.groups or self.filters % self.groups:
            raise EngineError(
                f"groups: expected a divisor of {self.channels} channels and {self.filters} filters, "
                f"got {self.groups}"
            )

    def _check_constants(self) -> None:
        filters, (kh, kw), device = self.filters, self.kernel_size, self.x.device
        size = -(-self.channels // self.groups // 8)
        _check("weight_bits", self.weight_bits, (filters, kh * kw, size), torch.uint8, device)
        _check("thresholds", self.thresholds, (self.channels,), self.output_dtype, device)
        _check("x_levels", self.x_levels, (2,), torch.float32, device)
        _check("w_levels", self.w_levels, (2, filters), torch.float32, device)
        if self.activation not in ACTIVATIONS:
            raise EngineError(f"activation: expected one of {ACTIVATIONS}, got {self.activation!r}")
        if (self.slope is not None) is not (self.activation == "prelu"):
            raise EngineError("slope: expected it with the activation 'prelu', and with no other")
        for name in ("bias", "slope", "y_thresholds"):
            vector = getattr(self, name)
            if vector is not None:
                _check(name, vector, (filters,), torch.float32, device)

    def _check_geometry(self) -> None:
        for name, least, values in (
            ("kernel_size", 1, self.kernel_size),
            ("stride", 1, self.stride),
            ("dilation", 1, self.dilation),
            ("padding", 0, self.padding),
        ):
            if min(values) < least:
                raise EngineError(f"{name}: expected numbers of {least} or more, got {values}")
        height, width = self.output_shape[2:]
        if height < 1 or width < 1:
            raise EngineError(
                f"x: {tuple(self.x.shape[2:])} with the padding {self.padding} is smaller than the kernel "
                f"{self.kernel_size} with the dilation {self.dilation}"
            )


def words_of(channels: int) -> int:
    """Return the number of 64-bit words that hold the bits of so many channels."""
    return -(-channels // 64)


def output_size(
    size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, int]:
    """Return height and width of the output for an input of the height and width `size`."""
    (h, w), (kh, kw), (sh, sw), (dh, dw) = size, kernel_size, stride, dilation
    top, bottom, left, right = padding
    return (h + top + bottom - (kh - 1) * dh - 1) // sh + 1, (w + left + right - (kw - 1) * dw - 1) // sw + 1


def broadcasts(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a tensor of `shape` becomes one of `wanted` by repeating axes of one element."""
    return len(shape) == len(wanted) and all(
        mine in (its, 1) for mine, its in zip(shape, wanted, strict=True)
    )


def _broadcast(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return `tensor` expanded to `shape` if it broadcasts to that, else unchanged."""
    return tensor.expand(shape) if tensor.shape != shape and broadcasts(tensor.shape, shape) else tensor


def _check(
    name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    if tensor.dtype != dtype or tensor.shape != shape or tensor.device != device:
        expected, found = (dtype, shape, device), (tensor.dtype, tuple(tensor.shape), tensor.device)
        raise EngineError(f"{name}: expected {_words(*expected)}, got {_words(*found)}")


def _words(dtype: torch.dtype, shape: tuple[int, ...], device: torch.device) -> str:
    return f"{dtype} {shape} on {device}"
