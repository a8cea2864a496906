"""The parts of a two-level weight that a convolution of the engine takes instead of the weight itself."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fxbin.binarizers.composed_weight import ComposedWeightBinarizer
from fxbin.binarizers.engine_derivative import engine_derivative
from fxbin.binarizers.weight import DoReFaWeightBinarizer, WeightBinarizer, XNORWeightBinarizer
from fxbin.binarizers.weight_levels import FilterMean, TensorMean
from fxbin.engine.derivative import Derivative
from fxbin.engine.float_conv2d import is_by_filter
from fxbin.engine.library import Engine
from fxbin.engine.weight_levels import mean_magnitudes

BINARIZE = WeightBinarizer.binarize
"""What weights with a scale alone run; the class may be patched."""


@dataclass(slots=True)
class EngineWeight:
    """``center + a`` where v > 0, else ``center - a``; gradients are those of `ComposedWeightBinarizer`."""

    v: Tensor
    """The latent weight after its transformation; where `scale` is None, what is convolved with."""
    scale: Tensor | None = None
    """a: one number, or that of each filter; it may need a gradient."""
    center: Tensor | None = None
    """The same; None for 0."""
    derivative: Derivative = Derivative.straight_through()  # noqa: RUF009  (a tuple)
    is_scaled: bool = False
    """Whether a multiplies the gradient of v."""

    @classmethod
    def of(cls, weights: WeightBinarizer, w: Tensor, engine: Engine) -> "EngineWeight":
        """The parts of ``weights(w)``, or that as a whole if the engine does not know its parts."""
        found = None
        if weights.is_enabled and w.dim() == 4:
            if type(weights).binarize is BINARIZE:
                found = cls(w, scale_of(weights, w.detach(), engine).detach())  # it gets no gradient
            elif type(weights) is ComposedWeightBinarizer:
                found = cls._of_parts(weights, w, engine)
        if found is None or found.scale is None or not is_by_filter(found.scale, w):
            return cls(weights(w))
        if found.center is not None and not is_by_filter(found.center, w):
            return cls(weights(w))
        return found

    @classmethod
    def _of_parts(cls, weights: ComposedWeightBinarizer, w: Tensor, engine: Engine) -> "EngineWeight | None":
        progress = weights.current_progress
        derivative = engine_derivative(weights.estimator, progress)
        if derivative is None:
            return None
        v = weights.latent.apply(w, progress)
        if v.dtype != w.dtype or v.shape != w.shape:
            return None
        if type(weights.rule) in (FilterMean, TensorMean):
            center, scale = (
                None,
                mean_magnitudes(engine, v.detach(), by_filter=type(weights.rule) is FilterMean),
            )
        else:
            center, scale = weights.center_and_scale(w, v)
        return cls(v, scale, center, derivative, weights.estimator.is_scaled)


def scale_of(weights: WeightBinarizer, w: Tensor, engine: Engine | None) -> Tensor:
    """``weights.scale(w)``; of the known ones the engine takes the mean in one pass, without a temporary."""
    by_filter = type(weights) is XNORWeightBinarizer and weights.scale_axis == "output"
    is_known = by_filter or type(weights) is DoReFaWeightBinarizer
    if engine is None or w.dim() != 4 or w.dtype != torch.float32 or not is_known:
        return weights.scale(w)
    return mean_magnitudes(engine, w, by_filter=by_filter)
