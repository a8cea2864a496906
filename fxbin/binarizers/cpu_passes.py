"""Binarization in eager mode on a CPU, in as few passes over the tensors as PyTorch's operators allow.

The functions compute what `BinarizeActivation` and `BinarizeWeight` define. With the operators used here
(comparisons written into a float buffer, the gradient of a clamp) a pass takes as long as a copy; one that
produces or reads a boolean mask, such as `torch.where`, takes four to twenty times as long (PyTorch 2.13).
"""

import math

import torch
from torch import Tensor, nn

from fxbin.binarizers.axes import all_but_channels
from fxbin.onlookers import is_followed

_clamp_gradient = torch.ops.aten.hardtanh_backward.grad_input

_CACHED = 200_000
"""Number of elements a tensor may have so that four of that size fit into a cache of a few MB."""


def applies_to(x: Tensor) -> bool:
    """Whether `x` is a plain tensor on a CPU that no compiler, tracer or functional transform follows."""
    return type(x) in (Tensor, nn.Parameter) and x.device.type == "cpu" and not is_followed()


def value_range(x: Tensor) -> tuple[float, float]:
    """Smallest and largest value of `x`: both NaN if x contains a NaN, both 0 if x is empty."""
    if not x.numel():
        return 0.0, 0.0
    low, high = torch.aminmax(x.detach())
    return low.item(), high.item()


def fired(x: Tensor, threshold: Tensor) -> Tensor:
    """``H(x - threshold)``, 0 or 1, in the dtype and shape of `x`; `threshold` has the same dtype."""
    # Vectorized, unlike a comparison that makes a boolean mask.
    return torch.gt(x, threshold, out=torch.empty_like(x))


def levels(x: Tensor, threshold: Tensor, s: Tensor) -> Tensor:
    """``s H(x - threshold)``, in the dtype and shape of `x`; `threshold` and `s` have the same dtype."""
    return fired(x, threshold).mul_(s)


def signs(w: Tensor, a: Tensor) -> Tensor:
    """``a`` where w > 0, else ``-a``; shape and dtype of `w`, to which `a` broadcasts."""
    return torch.gt(w, 0, out=torch.empty_like(w)).sub_(0.5).mul_(2 * a)


def gradients(
    g: Tensor, x: Tensor, s: Tensor, y: Tensor | None, *, nonnegative: bool, sum_gy: float = 0.0
) -> tuple[Tensor, float, Tensor] | None:
    """Gradients of x, s and t for m = 1, that of t in float32 or float64; None if that of s is not finite.

    `s` is the high level in the dtype of x, `y` the output. `y` may be None if `sum_gy`, the sum of g y, is
    given: this saves a pass, and loses a bit or two to cancellation where x has both signs.
    `nonnegative` says that x >= 0 everywhere. Then dL/ds = (sum g y - sum x dL/dx) / s, as y = s wherever
    x > s.
    It works on a few examples at a time, so that only the first pass over them waits for memory.

    Limits: a negative x that is subnormal in float32 (float64) counts as 0.
    """
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    high = s.item()
    low, above_high = -torch.finfo(exact).tiny, _next_above(high, exact)
    axes = all_but_channels(x)

    grad_x, total = torch.empty_like(x), sum_gy
    grad_t = x.new_zeros(x.shape[-3], dtype=exact)
    buffer: Tensor | None = None
    tensors = (grad_x, g, x) if y is None else (grad_x, g, x, y)
    for part_grad_x, part_g, part_x, *part_y in zip(*map(_parts, tensors), strict=True):
        if buffer is None or buffer.shape != part_x.shape:
            buffer = torch.empty_like(part_x)
        # The gradient of a clamp leaves out both of its bounds.
        _clamp_gradient(part_g, part_x, low, above_high, grad_input=part_grad_x)
        inside = _clamp_gradient(part_g, part_x, 0.0, high, grad_input=buffer)
        grad_t -= inside.sum(axes, dtype=exact)
        if nonnegative:
            total -= inner(part_grad_x, part_x)
            total += sum(inner(part_g, part) for part in part_y)
        else:
            below = _clamp_gradient(part_x, part_x, -math.inf, above_high, grad_input=buffer)
            for part in part_y:
                below.sub_(part)
            total -= inner(part_g, below)
    # A NaN in x passes through the operators above in some places and not in others. It is in this sum.
    grad_s = total / high if high else math.inf  # s is exp of what is learned, which may be very small
    return (grad_x, grad_s, grad_t) if math.isfinite(grad_s) else None


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """`tensor` split into whole examples, as many at a time as fit into a cache."""
    if tensor.dim() == 3 or tensor.numel() <= _CACHED:
        return (tensor,)
    parts: tuple[Tensor, ...] = tensor.split(max(1, _CACHED * len(tensor) // tensor.numel()))
    return parts


def _next_above(value: float, dtype: torch.dtype) -> float:
    """Smallest number of `dtype`, float32 or float64, above the positive `value`, itself of that dtype."""
    if dtype == torch.float64:
        return math.nextafter(value, math.inf)
    exponent = max(math.frexp(value)[1] - 24, -149)
    return value + math.ldexp(1.0, exponent)


def inner(a: Tensor, b: Tensor) -> float:
    """``sum(a b)``, accumulated in float32 or float64, without a temporary if layout and dtype allow it."""
    exact = torch.float64 if a.dtype == torch.float64 else torch.float32
    if a.dtype == exact:
        if a.is_contiguous() and b.is_contiguous():
            return torch.dot(a.view(-1), b.view(-1)).item()
        channels_last = torch.channels_last
        if a.is_contiguous(memory_format=channels_last) and b.is_contiguous(memory_format=channels_last):
            return torch.dot(a.permute(0, 2, 3, 1).reshape(-1), b.permute(0, 2, 3, 1).reshape(-1)).item()
    return (a * b).sum(dtype=exact).item()
