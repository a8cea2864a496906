"""A convolution and both its binarizers as one autograd function, for eager mode on a CPU."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from fxbin import torch_private
from fxbin.binarizers import cpu_passes
from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.axes import pair
from fxbin.binarizers.binarizer import Binarizer
from fxbin.binarizers.conv2d import conv2d
from fxbin.binarizers.first_derivative import first_derivative_only
from fxbin.binarizers.straight_through import formula_gradients
from fxbin.binarizers.weight import WeightBinarizer
from fxbin.onlookers import is_proxy
from fxbin.torch_private import CALLED_HOOKS, COMPILED_CALL

_HOOKS, _PRE_HOOKS, _BACKWARD_HOOKS, _BACKWARD_PRE_HOOKS = CALLED_HOOKS
_convolution_backward = torch.ops.aten.convolution_backward.default


def binarized_conv2d(
    activations: Binarizer,
    weights: Binarizer,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """``conv2d(activations(x), weights(w), bias, ...)``, bit for bit; gradients agree up to rounding.

    One autograd function replaces three, which halves the cost of a call apart from the passes over tensors.
    It applies in training, in float32 or float64 on a CPU, without a compiler, autocast or a functional
    transform, for finite inputs, and if no hook sees the outputs of the binarizers. Otherwise the three
    calls are made.
    """
    if w is None:
        weights.refuse_missing()
    if torch.compiler.is_compiling():
        return conv2d(activations(x), weights(w), bias, stride, padding, dilation, groups)
    if not (activations.is_enabled or weights.is_enabled):
        if _passes_on(activations) and _passes_on(weights) and not is_proxy(x):
            return F.conv2d(x, w, bias, stride, padding, dilation, groups)
    elif not isinstance(padding, str) and _is_fused(activations, weights, x, w):
        low, high = cpu_passes.value_range(x)
        if math.isfinite(low) and math.isfinite(high):
            settings = (*map(pair, (stride, padding, dilation)), groups)
            return _one_step(activations, weights, x, w, bias, low >= 0, settings)
    return conv2d(activations(x), weights(w), bias, stride, padding, dilation, groups)


def _one_step(
    activations: Binarizer,
    weights: Binarizer,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    nonnegative: bool,
    settings: tuple[Any, ...],
) -> Tensor:
    assert isinstance(activations, ActivationBinarizer)
    if activations.awaits_first_batch:
        activations.start_from(x)
    levels = activations.scale, activations.threshold
    y: Tensor = _BinarizedConv2d.apply(  # type: ignore[no-untyped-call]
        x, w, bias, *levels, activations, weights, nonnegative, settings
    )
    return y


class _BinarizedConv2d(Function):
    """``y = conv2d(s H(x - s t), a sign(w)) + bias`` with s = exp(log_scale), t = sigmoid(logit).

    Forward, backward: as `BinarizeActivation`, `BinarizeWeight` (if it is enabled; else w stays as it is),
    `torch.exp` and `torch.sigmoid` define them. Of the large tensors only x and w are saved.

    The backward needs H only, not s H. For the weight w' = a sign(w), dL/dw' is s times the weight gradient
    that the convolution has for the input H. As the convolution is linear in both, the inner product of w'
    and dL/dw' equals that of s H and its gradient, which dL/ds needs.

    Shapes: x ``(n, c, h, w)``, log_scale ``(1,)``, logit ``(1, c, 1, 1)``.
    Errors: RuntimeError on a second derivative.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        bias: Tensor | None,
        log_scale: Tensor,
        logit: Tensor,
        activations: ActivationBinarizer,
        weights: WeightBinarizer,
        nonnegative: bool,
        settings: tuple[Any, ...],
    ) -> Tensor:
        """See the class."""
        s, t = log_scale.exp(), logit.sigmoid()
        threshold = t * s
        fired = cpu_passes.fired(x, threshold)
        if activations.firing is not None:
            activations.firing.add(fired)
        a = weights.scale(w) if weights.is_enabled else None
        ctx.save_for_backward(x, w)
        m = 1.0 if activations.lr_multiplier is None else activations.lr_multiplier
        ctx.kept = s, t, threshold, a, m, nonnegative, settings
        return F.conv2d(fired.mul_(s), w if a is None else cpu_passes.signs(w, a), bias, *settings)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """See the class."""
        x, w = ctx.saved_tensors
        s, t, threshold, a, m, nonnegative, (*geometry, groups) = ctx.kept
        wants_x, wants_w, wants_bias, *wants_levels = ctx.needs_input_grad[:5]
        wants_g = wants_x or any(wants_levels)
        w = w if a is None else cpu_passes.signs(w, a)
        fired = cpu_passes.fired(x, threshold)
        g, grad_w, grad_bias = _convolution_backward(
            grad_y, fired, w, [len(w)], *geometry, False, (0, 0), groups, (wants_g, wants_w, wants_bias)
        )
        if wants_w:
            grad_w.mul_(s)
        grad_x = grad_log_scale = grad_logit = None
        if wants_g:
            sum_gy = cpu_passes.inner(grad_w, w) if wants_w else cpu_passes.inner(g, fired) * s.item()
            del fired  # for its memory
            found = cpu_passes.gradients(g, x, s, None, nonnegative=nonnegative, sum_gy=sum_gy)
            grad_x, grad_s, grad_t = found or formula_gradients(g, x, threshold.view(-1, 1, 1), s, s.dtype)
            grad_log_scale = s * (grad_s * m)
            grad_logit = torch.ops.aten.sigmoid_backward(grad_t.view_as(t).mul_(m), t)
        return (grad_x if wants_x else None), grad_w, grad_bias, grad_log_scale, grad_logit, *(None,) * 4


def _is_fused(activations: nn.Module, weights: nn.Module, x: Tensor, w: Tensor) -> bool:
    """Whether `_BinarizedConv2d` computes what the two modules would, and supports these tensors."""
    return (
        type(activations) is ActivationBinarizer
        and activations.training
        and activations.is_enabled
        and _is_plain(activations)
        and isinstance(weights, WeightBinarizer)
        and type(weights).binarize is WeightBinarizer.binarize
        and type(weights).forward is Binarizer.forward
        and _is_plain(weights)
        and not torch_private.has_any_global_hook()
        and cpu_passes.applies_to(x)
        and cpu_passes.applies_to(w)
        and x.dtype == w.dtype == activations.scale.dtype == activations.threshold.dtype
        and x.dtype in (torch.float32, torch.float64)
        and x.dim() == 4
        and x.shape[1] == activations.channels
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


def _passes_on(binarizer: Binarizer) -> bool:
    """Whether calling the disabled `binarizer` does nothing but return its input: no hooks, no override."""
    forward = type(binarizer).forward
    return (forward is ActivationBinarizer.forward or forward is Binarizer.forward) and _is_plain(binarizer)


def _is_plain(module: nn.Module) -> bool:
    """Whether calling `module` runs the forward of its class and nothing else."""
    own = vars(module)
    # One by one, as this is asked in each forward, and takes half of the time of a loop.
    return not (
        own[_HOOKS]
        or own[_PRE_HOOKS]
        or own[_BACKWARD_HOOKS]
        or own[_BACKWARD_PRE_HOOKS]
        or "forward" in own
        or "binarize" in own
        or own.get(COMPILED_CALL)
    )
