"""int8 versions of layers that are not binarized."""

import torch
from torch import Tensor, nn
from typing_extensions import override

# Imported for what it declares: torch.ops.fxbin.
import fxbin.engine.operators  # noqa: F401
from fxbin.binarizers.axes import pair
from fxbin.engine.int8_conv2d import HIGHEST, prepared_bytes

Range = tuple[float, float]
"""Lowest and highest value."""

MOST = 127
"""Largest integer of a weight; the smallest is its negative."""


class Int8Conv2d(nn.Module):
    """``conv2d(q(x), q(w)) + bias`` with inputs of 256 levels and weights of 255, scaled for each filter.

    ReLU may follow, and a max pooling, before which the output is also rounded to 256 levels.

    All its tensors are buffers in its `state_dict`. See `fxbin.engine.int8_conv2d.int8_conv2d`.

    Shapes: x ``(n, c, h, w)`` or ``(c, h, w)``, float32; other dtypes are computed in float32.
    """

    weight: Tensor
    weight_scales: Tensor
    x_scale: Tensor
    x_zero_point: Tensor
    bias: Tensor | None
    y_scale: Tensor | None
    y_zero_point: Tensor | None

    def __init__(self, conv: nn.Conv2d, x_range: Range) -> None:
        """Take over weight and bias of `conv`, whose inputs are in `x_range`."""
        super().__init__()
        self._set_weight(conv.weight, conv.bias)
        self._set_range("x", x_range)
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.padding = symmetric_padding(conv)
        assert self.padding is not None

    def _set_weight(self, weight: Tensor, bias: Tensor | None) -> None:
        """Quantize `weight` ``(f, c, kh, kw)``, with a scale for each filter."""
        weight = weight.detach()
        scales = weight.abs().amax((1, 2, 3)).double() / MOST
        scales = torch.where(scales > 0, scales, 1)
        levels = (weight.double() / scales.view(-1, 1, 1, 1)).round().to(torch.int8)
        self.register_buffer("weight", levels)
        self.register_buffer("weight_scales", scales.float())
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.relu = False
        self.pool: tuple[int, ...] | None = None
        self.register_buffer("y_scale", None)
        self.register_buffer("y_zero_point", None)

    def _set_range(self, name: str, of: Range) -> None:
        """Choose the levels of x or y. One of them is 0, the value of padding."""
        least, most = min(of[0], 0.0), max(of[1], 0.0)
        scale = (most - least) / HIGHEST or 1.0
        device = self.weight.device
        self.register_buffer(f"{name}_scale", torch.tensor([scale], device=device))
        self.register_buffer(f"{name}_zero_point", torch.tensor([round(-least / scale)], device=device))

    def set_pool(self, pool: nn.MaxPool2d, y_range: Range) -> None:
        """Add `pool`, which `is_pooled_as_bytes`; `y_range` is that of its output, or of a ReLU after it."""
        self.pool = (*pair(pool.kernel_size), *pair(pool.stride), *pair(pool.padding))
        self._set_range("y", y_range)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x`; the result is in channels_last, has the dtype of `x`, and has no backward."""
        y: Tensor = torch.ops.fxbin.int8_conv2d(
            (x if x.dim() == 4 else x.unsqueeze(0)).float(),
            self.weight,
            self.weight_scales.float(),
            self.x_scale.float(),
            self.x_zero_point,
            None if self.bias is None else self.bias.float(),
            None if self.y_scale is None else self.y_scale.float(),
            self.y_zero_point,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            relu=self.relu,
            pool=self.pool,
        )
        y = (y if x.dim() == 4 else y.squeeze(0)).to(x.dtype)
        if torch.is_grad_enabled() and x.requires_grad:
            y = torch.ops.fxbin.without_backward(y.detach(), x)
        return y

    @property
    def form_bytes(self) -> int:
        """Number of bytes of the weight as oneDNN has arranged it, which is held beside the weight itself."""
        return prepared_bytes(self.weight)

    @override
    def extra_repr(self) -> str:
        filters, channels, *kernel = self.weight.shape
        shown = [f"{channels * self.groups}, {filters}, kernel_size={tuple(kernel)}, stride={self.stride}"]
        shown += [f"padding={self.padding}"] if any(self.padding or ()) else []
        shown += [f"groups={self.groups}"] if self.groups > 1 else []
        shown += ["relu=True"] if self.relu else []
        shown += [f"pool={self.pool}"] if self.pool else []
        return ", ".join(shown)


class Int8Linear(Int8Conv2d):
    """A linear layer in int8, as a 1x1 convolution of single pixels. Shapes: x ``(*, c)``, y ``(*, f)``."""

    def __init__(self, linear: nn.Linear, x_range: Range) -> None:
        """Take over weight and bias of `linear`, whose inputs are in `x_range`."""
        nn.Module.__init__(self)
        self._set_weight(linear.weight[..., None, None], linear.bias)
        self._set_range("x", x_range)
        self.stride, self.padding, self.dilation, self.groups = (1, 1), (0, 0), (1, 1), 1

    @override
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x.reshape(-1, x.shape[-1], 1, 1))
        return y.reshape(*x.shape[:-1], len(self.weight))


def symmetric_padding(conv: nn.Conv2d) -> tuple[int, int] | None:
    """Return the rows and columns of zeros on each side; None if opposite sides differ or are not zeros."""
    if conv.padding_mode != "zeros":
        return None
    if not isinstance(conv.padding, str):
        vertical, horizontal = conv.padding
        return vertical, horizontal
    if conv.padding == "valid":
        return 0, 0
    vertical, horizontal = (
        step * (size - 1) for step, size in zip(conv.dilation, conv.kernel_size, strict=True)
    )
    return None if vertical % 2 or horizontal % 2 else (vertical // 2, horizontal // 2)


def is_pooled_as_bytes(pool: nn.Module | None) -> bool:
    """Whether an `Int8Conv2d` can compute `pool`, on bytes."""
    if type(pool) is not nn.MaxPool2d or pool.return_indices or pool.ceil_mode:
        return False
    return pair(pool.dilation) == (1, 1)
