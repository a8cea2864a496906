"""Which estimators the engine knows."""

from torch import Tensor

from fxbin.binarizers.estimators import (
    EDE,
    ApproxSign,
    Clipped,
    Estimator,
    StraightThrough,
    SwishSign,
    Window,
)
from fxbin.engine.derivative import Derivative


def engine_derivative(estimator: Estimator, progress: Tensor | None) -> Derivative | None:
    """What `estimator.derivative` computes, for the engine; None if that has no such function.

    It has none of `ReSTE`, nor of estimators that others register, subclasses included.
    """
    kind = type(estimator)
    if kind is ApproxSign:
        return Derivative.approx_sign()
    if kind is StraightThrough:
        return Derivative.straight_through()
    if isinstance(estimator, Window) and kind in (Window, Clipped):
        return Derivative.clipped(estimator.width)
    if kind is SwishSign:
        assert isinstance(estimator, SwishSign)
        return Derivative.swish_sign(estimator.beta)
    if kind is EDE and progress is not None:
        assert isinstance(estimator, EDE)
        return Derivative.ede(*estimator.at(progress.item()))
    return None
