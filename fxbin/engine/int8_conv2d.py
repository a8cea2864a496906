"""The operator ``torch.ops.fxbin.int8_conv2d``: layers that are not in 1 bit, in int8 by PyTorch's oneDNN."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from fxbin import torch_private
from fxbin.engine.binary_conv2d import output_size
from fxbin.engine.library import engine
from fxbin.engine.max_pool2d import max_pool2d
from fxbin.errors import EngineError

INT8_CONV2D = (
    "int8_conv2d(Tensor x, Tensor weight, Tensor weight_scales, Tensor x_scale, Tensor x_zero_point, "
    "Tensor? bias=None, Tensor? y_scale=None, Tensor? y_zero_point=None, *, int[2] stride=1, "
    "int[2] padding=0, int[2] dilation=1, int groups=1, bool relu=False, int[]? pool=None) -> Tensor"
)
HIGHEST = 255
"""Highest level of a quantized input; the lowest is 0."""

_Geometry = tuple[list[int], list[int], list[int], int]

_Constants = tuple[Tensor, Tensor, Tensor, Tensor]
"""The weight, its scales, and the scale and zero point of the input."""

_kept: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""The `_Prepared` of each weight."""


def int8_conv2d(
    x: Tensor,
    weight: Tensor,
    weight_scales: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    bias: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero_point: Tensor | None = None,
    *,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
    relu: bool = False,
    pool: Sequence[int] | None = None,
) -> Tensor:
    """Return ``conv2d(q(x), q(w)) + bias``, computed on bytes where the CPU can, else in float.

    Quantization: ``q(x) = x_scale * (clamp(round(x / x_scale) + x_zero_point, 0, 255) - x_zero_point)``, and
    ``q(w) = weight_scales * weight``. On bytes, sums are exact integers; in float, they are rounded. With
    `pool`, the output is quantized like the input and pooled as bytes, which take a quarter of the memory.
    NaN becomes the lowest level.

    Args:
        x: float32 ``(n, c, h, w)``.
        weight: int8 ``(f, c / groups, kh, kw)``, from -127 to 127.
        weight_scales: the scale of each filter, float32 ``(f,)``.
        x_scale: the step between two levels of the input, float32, of one element.
        x_zero_point: the level that stands for 0, from 0 to 255, int64, of one element.
        bias: float32 ``(f,)``.
        y_scale: like `x_scale`, for the output before the pooling; only with `pool`.
        y_zero_point: like `x_zero_point`, given together with `y_scale`.
        stride: vertical, horizontal.
        padding: rows of zeros above and below, columns on the left and on the right.
        dilation: vertical, horizontal.
        groups: as for `F.conv2d`.
        relu: whether to apply ReLU.
        pool: size, stride and padding of a max pooling to apply, two numbers each.

    Returns:
        float32 ``(n, f, oh, ow)``, channels_last.

    Raises:
        EngineError: an argument has a wrong shape, dtype, device or value.
    """
    constants = weight, weight_scales, x_scale, x_zero_point
    geometry = list(stride), list(padding), list(dilation), groups
    _check_tensors(x, constants, bias, y_scale, y_zero_point)
    _check_pool(pool, y_scale, y_zero_point)
    _check_shapes(x, weight, geometry, pool)
    runs = _on_bytes if x.numel() and runs_on_bytes(x) else _in_float
    if y_scale is None or y_zero_point is None or pool is None:
        y = runs(x, constants, bias, geometry, _Output(relu))
    else:
        output = _Output(relu, float(y_scale), int(y_zero_point), torch.uint8)
        levels = runs(x, constants, bias, geometry, output)
        pooled = max_pool2d(levels, list(pool[:2]), list(pool[2:4]), list(pool[4:]))
        y = pooled.float() if output.zero_point == 0 else pooled.float().sub_(output.zero_point)
        y.mul_(output.scale)
    return y.contiguous(memory_format=torch.channels_last)


def fake_int8_conv2d(
    x: Tensor,
    weight: Tensor,
    *_constants: Tensor | None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
    pool: Sequence[int] | None = None,
    **_options: Any,
) -> Tensor:
    """Return a tensor like the result, without computing it: the fake kernel, for compilers."""
    y = F.conv2d(x, weight.to(x.dtype), None, list(stride), list(padding), list(dilation), groups)
    y = F.max_pool2d(y, list(pool[:2]), list(pool[2:4]), list(pool[4:])) if pool else y
    return y.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class _Output:
    """What happens to the output: ReLU, and quantization if the dtype is uint8."""

    relu: bool
    scale: float = 1.0
    zero_point: int = 0
    dtype: torch.dtype = torch.float32


def runs_on_bytes(x: Tensor) -> bool:
    """Whether the engine is available and `x` is on a CPU with AVX-512 VNNI.

    Without these instructions, oneDNN adds products of bytes in 16 bits, where they saturate.
    """
    return x.device.type == "cpu" and torch_private.has_vnni() and engine() is not None


def _in_float(
    x: Tensor, constants: _Constants, bias: Tensor | None, geometry: _Geometry, output: _Output
) -> Tensor:
    weight, weight_scales, x_scale, x_zero_point = constants
    zero = x_zero_point.float()
    levels = (x * x_scale.reciprocal()).nan_to_num(nan=-math.inf).clamp(-zero, HIGHEST - zero).round()
    y = F.conv2d(levels, weight.float(), None, *geometry) * (weight_scales * x_scale).view(-1, 1, 1)
    y = y if bias is None else y + bias.view(-1, 1, 1)
    y = y.relu() if output.relu else y
    if output.dtype == torch.float32:
        return y
    return (y / output.scale).round().add(output.zero_point).clamp(0, HIGHEST).to(output.dtype)


def _on_bytes(
    x: Tensor, constants: _Constants, bias: Tensor | None, geometry: _Geometry, output: _Output
) -> Tensor:
    loaded = engine()
    assert loaded is not None
    x = x.contiguous(memory_format=torch.channels_last)
    levels = torch.empty_like(x, dtype=torch.uint8)
    made = _prepared(levels, constants, geometry)
    loaded.quantize(x, made.inverse_scale, made.zero_point, levels, torch.get_num_threads())
    quantized = made.scale, made.zero_point, made.packed, constants[1], made.zeros, bias
    activation = "relu" if output.relu else "none"
    wanted: tuple[Any, ...] = output.scale, output.zero_point, output.dtype, activation, [], ""
    if made.is_product:
        y: Tensor = torch.ops.onednn.qlinear_pointwise(levels.flatten(1), *quantized, *wanted)
        y = y.view(*y.shape, 1, 1)
    else:
        y = torch.ops.onednn.qconv2d_pointwise(levels, *quantized, *geometry, *wanted)
    return y


def prepared_bytes(weight: Tensor) -> int:
    """Return the number of bytes that are held for the int8 `weight`, in addition to the tensor itself."""
    found: _Prepared | None = _kept.get(weight)
    return 0 if found is None else found.packed.nbytes + found.zeros.nbytes


class _Prepared:
    """The arguments of oneDNN that are derived from the constants of a layer."""

    def __init__(
        self, levels: Tensor, constants: _Constants, geometry: _Geometry, *, is_product: bool
    ) -> None:
        weight, weight_scales, x_scale, x_zero_point = constants
        self.versions = _versions(constants)
        self.others = constants[1:]
        self.geometry, self.is_product = geometry, is_product
        self.scale, self.zero_point = float(x_scale), int(x_zero_point)
        self.inverse_scale = float(x_scale.reciprocal())
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        self.packed: Tensor
        if is_product:
            shape = [len(levels), levels.shape[1]]
            self.packed = torch.ops.onednn.qlinear_prepack(weight.flatten(1).contiguous(), shape)
        else:
            quantization = weight_scales, self.scale, self.zero_point
            self.packed = torch.ops.onednn.qconv_prepack(
                weight.contiguous(), *quantization, *geometry, list(levels.shape)
            )

    def fits(self, constants: _Constants, geometry: _Geometry, *, is_product: bool) -> bool:
        """Whether this was made from these very tensors, and nobody has written to them since."""
        return (
            is_product == self.is_product
            and all(map(operator.is_, constants[1:], self.others))
            and self.versions is not None
            and self.versions == _versions(constants)
            and geometry == self.geometry
        )


def _prepared(levels: Tensor, constants: _Constants, geometry: _Geometry) -> _Prepared:
    weight = constants[0]
    # A 1x1 kernel on one pixel in one group is a matrix product, which PyTorch computes faster as such.
    is_product = levels.shape[2:].numel() == 1 and weight.shape[1:] == (levels.shape[1], 1, 1)
    is_product &= not any(geometry[1])
    found: _Prepared | None = _kept.get(weight)
    if found is None or not found.fits(constants, geometry, is_product=is_product):
        found = _kept[weight] = _Prepared(levels, constants, geometry, is_product=is_product)
    return found


def _versions(constants: _Constants) -> list[int] | None:
    """Versions and addresses, which show writes to `constants`; None if one is an inference tensor."""
    if any(each.is_inference() for each in constants):
        return None
    return [*map(torch_private.version, constants), *(each.data_ptr() for each in constants)]


def _check_tensors(
    x: Tensor,
    constants: _Constants,
    bias: Tensor | None,
    y_scale: Tensor | None,
    y_zero_point: Tensor | None,
) -> None:
    weight, weight_scales, x_scale, x_zero_point = constants
    filters = weight.shape[:1]
    for name, tensor, dtype, shape in (
        ("x", x, torch.float32, None),
        ("weight", weight, torch.int8, None),
        ("weight_scales", weight_scales, torch.float32, filters),
        ("x_scale", x_scale, torch.float32, (1,)),
        ("x_zero_point", x_zero_point, torch.int64, (1,)),
        ("bias", bias, torch.float32, filters),
        ("y_scale", y_scale, torch.float32, (1,)),
        ("y_zero_point", y_zero_point, torch.int64, (1,)),
    ):
        if tensor is None:
            continue
        is_right = tensor.dim() == 4 if shape is None else tensor.shape == shape
        if not is_right or tensor.dtype != dtype or tensor.device != x.device:
            expected = "4 axes" if shape is None else tuple(shape)
            raise EngineError(
                f"{name}: expected {dtype} of {expected} on {x.device}, got {tensor.dtype} of "
                f"{tuple(tensor.shape)} on {tensor.device}"
            )


def _check_shapes(x: Tensor, weight: Tensor, geometry: _Geometry, pool: Sequence[int] | None) -> None:
    stride, padding, dilation, groups = geometry
    if min(*stride, *dilation, groups) < 1 or min(padding) < 0:
        raise EngineError(
            f"stride, dilation, groups: expected 1 or more, and padding 0 or more, got {geometry}"
        )
    if len(weight) % groups or x.shape[1] != groups * weight.shape[1]:
        raise EngineError(
            f"x: expected {groups * weight.shape[1]} channels for a weight of {tuple(weight.shape)} in "
            f"{groups} groups, got {tuple(x.shape)}"
        )
    size = output_size(x.shape[2:], weight.shape[2:], stride, _sides(padding), dilation)
    if min(size) < 1:
        raise EngineError(
            f"x: {tuple(x.shape[2:])} with the padding {padding} is smaller than the kernel "
            f"{tuple(weight.shape[2:])} with the dilation {dilation}"
        )
    if pool and min(output_size(size, pool[:2], pool[2:4], _sides(pool[4:]), (1, 1))) < 1:
        raise EngineError(f"pool: an output of {size} is smaller than the window {list(pool[:2])}")


def _sides(padding: Sequence[int]) -> tuple[int, int, int, int]:
    return padding[0], padding[0], padding[1], padding[1]


def _check_pool(pool: Sequence[int] | None, y_scale: Tensor | None, y_zero_point: Tensor | None) -> None:
    if pool is None and y_scale is None and y_zero_point is None:
        return
    if pool is None or len(pool) != 6 or y_scale is None or y_zero_point is None:
        raise EngineError(
            f"pool: expected six numbers with y_scale and y_zero_point, or none of them, got {pool}"
        )
    size, stride, padding = pool[:2], pool[2:4], pool[4:]
    if (
        min(*size, *stride) < 1
        or min(padding) < 0
        or any(2 * p > k for p, k in zip(padding, size, strict=True))
    ):
        raise EngineError(
            f"pool: expected sizes and strides above 0, and paddings up to half the size, got {pool}"
        )
