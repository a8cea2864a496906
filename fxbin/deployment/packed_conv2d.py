"""A binarized convolution as a module with packed weights."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.engine.binary_conv2d import BinaryConv2d, broadcasts, output_size
from fxbin.engine.in_float import activated
from fxbin.engine.library import engine
from fxbin.engine.native import NativeCall, NativeCalls, forget_forms, held_bytes
from fxbin.engine.operators import NOT_DIFFERENTIABLE, OPERATORS
from fxbin.errors import EngineError
from fxbin.onlookers import has_tangent, is_unseen


class PackedConv2d(nn.Module):
    """``activation(conv2d(where(x > thresholds, high, low), w) + bias + residual)`` with one bit per weight.

    All its tensors are buffers in its `state_dict`: nothing can be trained, and no weight is kept in float.
    For their shapes see `fxbin.engine.operators.binary_conv2d`.

    Shapes: x ``(n, c, h, w)`` or ``(c, h, w)``; residual like the output, or a shape that broadcasts to it.
    """

    thresholds: Tensor
    x_levels: Tensor
    weight_bits: Tensor
    w_levels: Tensor
    bias: Tensor | None
    slope: Tensor | None
    """Slopes of the activation "prelu"; None for the others."""
    y_thresholds: Tensor | None
    """Thresholds of the packed convolution that reads the output as bits; None if none does."""
    takes_bits = True  # what holds for modules that were pickled without this attribute
    """Whether `x` comes from a packed convolution that may hand on bits; other integers are an error."""

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
        self.kernel_size, self.stride, self.padding = tuple(kernel_size), tuple(stride), tuple(padding)
        self.dilation, self.groups = tuple(dilation), groups
        self.activation = "none"
        """One of `fxbin.engine.binary_conv2d.ACTIVATIONS`."""
        self.register_buffer("slope", None)
        self.output = "floats"
        """"floats"; "bits", which the next convolution reads instead; or "both"."""
        self.register_buffer("y_thresholds", None)
        self.takes_bits = False
        self._calls = NativeCalls()

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Convolve `x`; the result is in channels_last if `x` is, and has no backward.

        If `takes_bits`, `x` may also be bits, int64 ``(n, ceil(c / 64), h, w)``. Floats have the dtype of
        `x`, or float32 if `x` is bits. Where `output` asks for bits but these will not do, floats take their
        place: the next convolution reads either.
        """
        outputs = None
        if is_unseen(x, residual) and not self._has_hooks:
            constants, options = list(torch_private.buffers(self).values()), self._options(self.output)
            outputs = self._calls.again(x, residual, constants, self.weight_bits, options)
        if outputs is None:
            outputs = self._computed(x, residual)
        return outputs if len(outputs) == 2 else outputs[0]

    @property
    def _has_hooks(self) -> bool:
        """Whether it has forward hooks; False under a compiler, which cannot tell."""
        return not torch.compiler.is_compiling() and any(torch_private.forward_hooks(self))

    def _options(self, output: str, activation: str | None = None) -> tuple[Any, ...]:
        """Return what a call depends on besides tensors."""
        geometry = self.kernel_size, self.stride, self.padding, self.dilation, self.groups
        return output, self.activation if activation is None else activation, geometry

    def _computed(self, x: Tensor, residual: Tensor | None) -> tuple[Tensor, ...]:
        if has_tangent(x, residual):
            raise EngineError(f"forward-mode differentiation: {NOT_DIFFERENTIABLE}")
        if residual is not None and not self._takes(residual, x):
            (y,) = self._convolved(x, None, "floats", "none")
            slope = None if self.slope is None else self.slope.to(y.dtype)
            y = activated(y + residual, self.activation, slope)
        elif self.output != "floats" and self._gives_bits(x, residual):
            return self._convolved(x, residual, self.output, self.activation)
        else:
            (y,) = self._convolved(x, residual, "floats", self.activation)
        if torch.is_grad_enabled():
            for source in (x, residual):
                if source is not None and source.requires_grad:
                    y = torch.ops.fxbin.without_backward(y.detach(), source)
        return (y, y) if self.output == "both" else (y,)

    def _gives_bits(self, x: Tensor, residual: Tensor | None) -> bool:
        """Whether bits will do: they need float32 on a CPU, have no gradient, and tell a hook nothing."""
        needs_gradient = torch.is_grad_enabled() and any(
            each is not None and each.requires_grad for each in (x, residual)
        )
        is_float32 = x.dtype in (torch.float32, torch.int64)
        return is_float32 and x.device.type == "cpu" and not needs_gradient and not self._has_hooks

    def _takes(self, residual: Tensor, x: Tensor) -> bool:
        """Whether the sum of `residual` and the output for `x` has the shape and dtype of the output.

        An image of another size than at deployment may make the output broadcast, and autocast may give the
        two different dtypes.
        """
        if residual.dtype != (torch.float32 if x.dtype == torch.int64 else x.dtype):
            return False
        geometry = self.kernel_size, self.stride, self.padding, self.dilation
        output = (*x.shape[:-3], len(self.weight_bits), *output_size(x.shape[-2:], *geometry))
        return broadcasts(residual.shape, output)

    def _convolved(
        self, x: Tensor, residual: Tensor | None, output: str, activation: str
    ) -> tuple[Tensor, ...]:
        batch = x.unsqueeze(0) if x.dim() == 3 else x
        if residual is not None and residual.dim() == 3:
            residual = residual.unsqueeze(0)
        arguments = self._arguments(batch, output, activation)
        loaded = engine() if is_unseen(batch, residual) else None
        if loaded is None:
            found = OPERATORS[output](batch, **arguments, residual=residual)
            outputs = (found,) if isinstance(found, Tensor) else tuple(found)
        else:
            conv = BinaryConv2d.of(batch, **arguments, residual=residual, wants_floats=output != "bits")
            call = NativeCall(loaded, conv)
            constants, options = list(torch_private.buffers(self).values()), self._options(output, activation)
            outputs = self._calls.first(call, batch, residual, constants, self.weight_bits, options)
        return tuple(each.squeeze(0) for each in outputs) if x.dim() == 3 else outputs

    def _arguments(self, x: Tensor, output: str, activation: str) -> dict[str, Any]:
        """Return arguments of the operators, in their dtypes: casting the whole model also casts buffers."""
        arguments: dict[str, Any] = {
            "thresholds": self.thresholds.to(torch.float32 if x.dtype == torch.int64 else x.dtype),
            "x_levels": self.x_levels.float(),
            "weight_bits": self.weight_bits,
            "w_levels": self.w_levels.float(),
            "bias": None if self.bias is None else self.bias.float(),
            "slope": None if self.slope is None or activation != "prelu" else self.slope.float(),
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "activation": activation,
        }
        if not self.takes_bits:
            arguments["takes_bits"] = False
        if output != "floats":
            assert self.y_thresholds is not None
            arguments["y_thresholds"] = self.y_thresholds.float()
        return arguments

    @property
    def held_bytes(self) -> int:
        """Number of bytes of its buffers and of `form_bytes`."""
        return sum(buffer.nbytes for buffer in self.buffers()) + self.form_bytes

    @property
    def form_bytes(self) -> int:
        """Number of bytes of the forms of the weights that the engine holds for the calls so far."""
        return held_bytes(self.weight_bits)

    def forget_forms(self) -> None:
        """Free the forms of the weights, which the next call makes anew."""
        self._calls = NativeCalls()
        forget_forms(self.weight_bits)

    def extra_repr(self) -> str:
        """Return what the printed model shows, in the order of `nn.Conv2d`."""
        filters, channels = len(self.weight_bits), len(self.thresholds)
        shown = [f"{channels}, {filters}, kernel_size={self.kernel_size}, stride={self.stride}"]
        shown += [f"padding={self.padding}"] if any(self.padding) else []
        shown += [f"dilation={self.dilation}"] if max(self.dilation) > 1 else []
        shown += [f"groups={self.groups}"] if self.groups > 1 else []
        shown += [f"activation={self.activation!r}"] if self.activation != "none" else []
        shown += [f"output={self.output!r}"] if self.output != "floats" else []
        return ", ".join(shown)
