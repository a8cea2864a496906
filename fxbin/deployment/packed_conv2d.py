"""A binarized convolution as a module of bits."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Imported for what it declares: torch.ops.fxbin.
import fxbin.engine.operators  # noqa: F401
from fxbin.engine.binary_conv2d import broadcasts, output_size
from fxbin.engine.native import held_bytes


class PackedConv2d(nn.Module):
    """``activation(conv2d(where(x > thresholds, high, low), w) + bias + residual)``, w of one bit a weight.

    All that it holds is in its `state_dict`, in buffers: nothing can be trained, and no weight is kept in
    float. For the shapes of its buffers see `fxbin.engine.operators.binary_conv2d`.

    Shapes: x ``(n, c, h, w)`` or ``(c, h, w)``; residual that of the output, or one that broadcasts to it.
    """

    thresholds: Tensor
    x_levels: Tensor
    weight_bits: Tensor
    w_levels: Tensor
    bias: Tensor | None
    slope: Tensor | None
    """Of the activation "prelu"."""

    def __init__(
        self,
        thresholds: Tensor,
        x_levels: Tensor,
        weight_bits: Tensor,
        w_levels: Tensor,
        bias: Tensor | None,
        *,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> None:
        super().__init__()
        self.register_buffer("thresholds", thresholds)
        self.register_buffer("x_levels", x_levels)
        self.register_buffer("weight_bits", weight_bits)
        self.register_buffer("w_levels", w_levels)
        self.register_buffer("bias", bias)
        self.kernel_size, self.stride, self.padding = list(kernel_size), list(stride), list(padding)
        self.dilation, self.groups = list(dilation), groups
        self.activation = "none"
        """"none", "relu" or "prelu"."""
        self.register_buffer("slope", None)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Convolve; the result has the dtype of `x`, is channels_last if `x` is, and has no backward."""
        if residual is None or self._takes(residual, x):
            y = self._convolved(x, residual, self.activation)
        else:
            y = self._activated(self._convolved(x, None, "none") + residual)
        if torch.is_grad_enabled():
            for source in (x, residual):
                if source is not None and source.requires_grad:
                    y = torch.ops.fxbin.without_backward(y.detach(), source)
        return y

    def _takes(self, residual: Tensor, x: Tensor) -> bool:
        """Whether the sum of the output for `x` and `residual` has the shape and dtype of the output.

        A picture of another size than at deployment may make the output broadcast, and autocast may give the
        two other dtypes.
        """
        if residual.dtype != x.dtype:
            return False
        geometry = self.kernel_size, self.stride, self.padding, self.dilation
        output = (*x.shape[:-3], len(self.weight_bits), *output_size(x.shape[-2:], *geometry))
        return broadcasts(residual.shape, output)

    def _activated(self, y: Tensor) -> Tensor:
        if self.activation == "relu":
            return y.relu()
        return y if self.slope is None else F.prelu(y, self.slope.to(y.dtype))

    def _convolved(self, x: Tensor, residual: Tensor | None, activation: str) -> Tensor:
        batch = x.unsqueeze(0) if x.dim() == 3 else x
        if residual is not None and residual.dim() == 3:
            residual = residual.unsqueeze(0)
        # A cast of the whole model casts these, too.
        bias = None if self.bias is None else self.bias.float()
        slope = None if self.slope is None or activation != "prelu" else self.slope.float()
        y: Tensor = torch.ops.fxbin.binary_conv2d(
            batch,
            self.thresholds.to(x.dtype),
            self.x_levels.float(),
            self.weight_bits,
            self.w_levels.float(),
            bias,
            residual,
            slope,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            activation=activation,
        )
        return y.squeeze(0) if x.dim() == 3 else y

    @property
    def held_bytes(self) -> int:
        """Bytes of its buffers, and of what the engine has made of the weights so far."""
        return sum(buffer.nbytes for buffer in self.buffers()) + held_bytes(self.weight_bits)

    def extra_repr(self) -> str:
        """What the printed model shows, in the order of `nn.Conv2d`."""
        filters, channels = len(self.weight_bits), len(self.thresholds)
        shown = [f"{channels}, {filters}, kernel_size={self.kernel_size}, stride={self.stride}"]
        shown += [f"padding={self.padding}"] if any(self.padding) else []
        shown += [f"dilation={self.dilation}"] if max(self.dilation) > 1 else []
        shown += [f"groups={self.groups}"] if self.groups > 1 else []
        shown += [f"activation={self.activation!r}"] if self.activation != "none" else []
        return ", ".join(shown)
