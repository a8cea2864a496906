"""A convolution and both its binarizers as one autograd function, for all but NNCF's activations on a CPU."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from fxbin.binarizers import cpu_passes
from fxbin.binarizers.activation import ActivationBinarizer
from fxbin.binarizers.engine_derivative import engine_derivative
from fxbin.binarizers.engine_weight import EngineWeight
from fxbin.binarizers.first_derivative import first_derivative_only
from fxbin.binarizers.levels import Levels
from fxbin.binarizers.weight import WeightBinarizer
from fxbin.engine.backward import NO_GRADIENTS, InputLevels, estimated_gradients, weight_gradients
from fxbin.engine.derivative import Derivative
from fxbin.engine.float_conv2d import Ends, Geometry, prepared
from fxbin.engine.library import Engine, training_engine
from fxbin.engine.weight_levels import weight_levels

_convolution_backward = torch.ops.aten.convolution_backward.default


def two_level_conv2d(
    activations: ActivationBinarizer,
    weights: WeightBinarizer,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    settings: Geometry,
) -> Tensor | None:
    """``conv2d(activations(x), weights(w), bias, ...)``, with its gradients, up to rounding.

    Weights that are -a or a, with one a for each filter, are computed in 1 bit with exact sums. None if the
    modules have to compute it: if the engine is missing or does not know the estimator of the activations, or
    x or the levels are not finite and in float32.
    """
    engine = training_engine()
    if engine is None or x.dtype != torch.float32:
        return None
    derivative = engine_derivative(activations.estimator, activations.current_progress)
    if derivative is None or not all(map(math.isfinite, cpu_passes.value_range(x))):
        return None
    if activations.awaits_first_batch:
        if _ends(activations.levels(), activations.channels) is None:
            return None  # before the start, which would be counted twice
        activations.start_from(x)
    levels = activations.trained_levels()
    ends = _ends(levels, activations.channels)
    if ends is None:
        return None
    if activations.firing is not None and activations.training:
        activations.firing.add_above(engine, x, levels.threshold)
    weight = EngineWeight.of(weights, w, engine)
    how = _How(ends, levels.is_symmetric, derivative, weight.derivative, weight.is_scaled, settings, engine)
    y: Tensor = _Conv2d.apply(  # type: ignore[no-untyped-call]
        x,
        weight.v,
        weight.scale,
        weight.center,
        bias,
        levels.threshold,
        None if levels.is_symmetric else levels.low,
        levels.high,
        how,
    )
    return y


def _ends(levels: Levels, channels: int) -> Ends | None:
    """Low and high, if they are one number each, with one threshold or that of each channel, in float32."""
    threshold, low, high = levels
    if not (threshold.dtype == low.dtype == high.dtype == torch.float32 and low.numel() == high.numel() == 1):
        return None
    ends = low.item(), high.item()
    is_by_channel = threshold.shape in ((1, channels, 1, 1), (1, 1, 1, 1))
    return ends if is_by_channel and -math.inf < ends[0] < ends[1] < math.inf else None


class _How(NamedTuple):
    """What a call of `_Conv2d` is given besides tensors."""

    ends: Ends
    is_symmetric: bool
    """Whether low is -high, and the gradient of high is that of both."""
    derivative: Derivative
    """Of the activations."""
    of_weight: Derivative
    is_scaled: bool
    settings: Geometry
    engine: Engine


class _Conv2d(Function):
    """``conv2d(where(x > t, high, low), center + where(v > 0, a, -a)) + bias``; gradients are `TwoLevels`'.

    Without a, the weight is v itself. The sum of ``g h``, where g is the gradient of the two-level input and
    h is 1 where that is high, follows from the inner product of the weight and its gradient. This equals that
    of the input and its gradient, because a convolution is linear in both.

    Shapes: x ``(n, c, h, w)``, v ``(f, c / groups, kh, kw)``, a and center one number or ``(f, 1, 1, 1)``, t
            ``(1, c, 1, 1)`` or ``(1, 1, 1, 1)``, low and high one number; low may be None where it is -high.
    Errors: RuntimeError on a second derivative.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        v: Tensor,
        a: Tensor | None,
        center: Tensor | None,
        bias: Tensor | None,
        threshold: Tensor,
        low: Tensor | None,
        high: Tensor,
        how: _How,
    ) -> Tensor:
        """See the class."""
        ctx.save_for_backward(x, v, a, center, threshold, low, high)
        ctx.how = how
        if a is not None:
            conv = prepared(x, v, a, bias, how.settings)
            if conv is not None:
                if threshold.numel() != x.shape[1]:
                    threshold = threshold.expand(1, x.shape[1], 1, 1)
                return conv.run(how.engine, x, threshold, how.ends, v, a, bias, center)
        weight = v if a is None else weight_levels(how.engine, v, a, center)
        return F.conv2d(_two_levels(x, threshold, how.ends), weight, bias, *how.settings)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """See the class."""
        x, v, a, center, threshold, low, high = ctx.saved_tensors
        how: _How = ctx.how
        wants_x, wants_v, wants_a, wants_center, wants_bias, *wants_levels = ctx.needs_input_grad[:8]
        weight = v if a is None else weight_levels(how.engine, v, a, center)
        grad_x, inputs = None, None
        if wants_x or any(wants_levels):
            g = _conv_gradients(grad_y, x, weight, how, True, False, False)[0]
            grad_x, two_level, sums = estimated_gradients(
                how.engine, g, x, threshold, how.ends, how.derivative
            )
            if any(wants_levels):
                inputs = InputLevels(sums, how.ends, threshold, how.is_symmetric)
        else:
            two_level = _two_levels(x, threshold, how.ends)
        wants_w = wants_v or wants_a or wants_center or inputs is not None
        _, grad_w, grad_bias = _conv_gradients(grad_y, two_level, weight, how, False, wants_w, wants_bias)
        found = NO_GRADIENTS
        if wants_w:
            found = weight_gradients(
                how.engine, grad_w, v, a, how.of_weight, how.is_scaled, inputs, center, wants_products=wants_a
            )
        return (
            grad_x if wants_x else None,
            found.of_w if wants_v else None,
            _of_scale(found.products, a) if wants_a else None,
            found.of_center,
            grad_bias,
            *map(_like, found.of_levels, (threshold, low, high)),
            None,
        )


def _conv_gradients(grad_y: Tensor, x: Tensor, w: Tensor, how: _How, *wanted: bool) -> Any:
    """Those of input, weight and bias, None where not wanted."""
    *geometry, groups = how.settings
    return _convolution_backward(grad_y, x, w, [w.shape[0]], *geometry, False, (0, 0), groups, wanted)


def _of_scale(products: Tensor | None, a: Tensor) -> Tensor | None:
    """The gradient of the scale a."""
    if products is None:
        return None
    return products.sum().view_as(a) if a.numel() == 1 else products.view_as(a)


def _like(value: Tensor | None, other: Tensor | None) -> Tensor | None:
    return value if value is None or other is None or value.shape == other.shape else value.view_as(other)


def _two_levels(x: Tensor, threshold: Tensor, ends: Ends) -> Tensor:
    """The levels of `x`, which are exact: one of the two summands is 0."""
    low, high = ends
    fired = cpu_passes.fired(x, threshold)
    return (fired * high).add_(fired.neg_().add_(1).mul_(low))
