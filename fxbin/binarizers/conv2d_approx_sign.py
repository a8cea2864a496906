"""A convolution and the binarizer of its input as one autograd function, for ApproxSign on a CPU."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from fxbin.binarizers import cpu_passes
from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.estimators import ApproxSign
from fxbin.binarizers.first_derivative import first_derivative_only
from fxbin.binarizers.weight import WeightBinarizer
from fxbin.engine.backward import approx_sign_gradients
from fxbin.engine.float_conv2d import Geometry, prepared
from fxbin.engine.library import Engine, training_engine

_convolution_backward = torch.ops.aten.convolution_backward.default
_ESTIMATOR = ApproxSign()


def approx_sign_conv2d(
    activations: ActivationBinarizer,
    weights: WeightBinarizer,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    settings: Geometry,
) -> Tensor | None:
    """``conv2d(activations(x), weights(w), bias, ...)``, with its gradients, up to rounding.

    Weights that are -a or a, with one a for each filter, are computed in 1 bit with exact sums. None if the
    modules have to compute it: if the estimator is another one, the engine is missing, or x or the levels are
    not finite and in float32.
    """
    engine = training_engine()
    if activations.estimator != _ESTIMATOR or engine is None or x.dtype != torch.float32:
        return None
    if not all(map(math.isfinite, cpu_passes.value_range(x))):
        return None
    if activations.awaits_first_batch:
        activations.start_from(x)
    threshold, low, high = activations.trained_levels()
    threshold = threshold.expand(1, activations.channels, 1, 1)
    if not (math.isfinite(high.item()) and -math.inf < low.item() < high.item()):
        return None
    if activations.firing is not None and activations.training:
        activations.firing.add(cpu_passes.fired(x.detach(), threshold.detach()))
    two_level: Tensor = weights(w)
    is_packed = weights.is_enabled and weights.is_by_filter
    scale = two_level.detach()[:, :1, :1, :1].abs() if is_packed else None
    y: Tensor = _Conv2d.apply(x, two_level, bias, threshold, low, high, scale, settings, engine)  # type: ignore[no-untyped-call]
    return y


class _Conv2d(Function):
    """``y = conv2d(where(x > t, high, low), w) + bias``, with the gradients of `TwoLevels` for ApproxSign.

    The sum of ``g h``, where g is the gradient of the two-level input and h is 1 where that is high, follows
    from the inner product of the weight and its gradient. This equals that of the input and its gradient,
    because a convolution is linear in both.

    Shapes: x ``(n, c, h, w)``, t ``(1, c, 1, 1)``, low and high ``(1,)``.
    Errors: RuntimeError on a second derivative.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        bias: Tensor | None,
        threshold: Tensor,
        low: Tensor,
        high: Tensor,
        scale: Tensor | None,
        settings: Geometry,
        engine: Engine,
    ) -> Tensor:
        """See the class."""
        ctx.save_for_backward(x, w, threshold, low, high)
        ctx.settings, ctx.engine = settings, engine
        conv = None if scale is None else prepared(x, w, scale, bias, settings)
        if conv is not None:
            assert scale is not None
            return conv.run(engine, x, threshold, high, w, scale, bias, low)
        return F.conv2d(_two_levels(x, threshold, low, high), w, bias, *settings)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """See the class."""
        x, w, threshold, low, high = ctx.saved_tensors
        *geometry, groups = ctx.settings
        wants_x, wants_w, wants_bias, *wants_levels = ctx.needs_input_grad[:6]

        def gradients(of: Tensor, *wanted: bool) -> Any:
            return _convolution_backward(grad_y, of, w, [len(w)], *geometry, False, (0, 0), groups, wanted)

        if not (wants_x or any(wants_levels)):
            _, grad_w, grad_bias = gradients(_two_levels(x, threshold, low, high), False, wants_w, wants_bias)
            return None, grad_w, grad_bias, *(None,) * 6
        ends = low.item(), high.item()
        g = gradients(x, True, False, False)[0]
        grad_x, two_level, sums = approx_sign_gradients(ctx.engine, g, x, threshold, ends)
        _, grad_w, grad_bias = gradients(two_level, False, True, wants_bias)
        of_levels = _level_gradients(cpu_passes.inner(grad_w, w), sums, ends)
        return (
            grad_x if wants_x else None,
            grad_w if wants_w else None,
            grad_bias,
            *(_like(value, at) for value, at in zip(of_levels, (threshold, low, high), strict=True)),
            *(None, None, None),
        )


def _level_gradients(
    product: float, sums: Tensor, ends: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of threshold, low and high; `product` is the inner product of the input and its gradient."""
    low, high = ends
    *_, of_units, total = sums.tolist()
    of_high = (product - low * total) / (high - low)
    return (
        -sums[:-2],
        sums.new_tensor(total - of_high + of_units / 2),
        sums.new_tensor(of_high - of_units / 2),
    )


def _like(value: Tensor, other: Tensor) -> Tensor:
    return value.to(other.dtype).view_as(other)


def _two_levels(x: Tensor, threshold: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The levels of `x`, which are exact: one of the two summands is 0."""
    fired = cpu_passes.fired(x, threshold)
    return (fired * high).add_(fired.neg_().add_(1).mul_(low))
