"""The derivatives of estimators, compared with finite differences of the functions in the papers."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fxbin.binarizers.estimators import (
    EDE,
    ApproxSign,
    Clipped,
    Estimator,
    ReSTE,
    StraightThrough,
    SwishSign,
    Window,
)
from fxbin.errors import ConfigError

Function = Callable[[Tensor], Tensor]


def quadratic(u: Tensor) -> Tensor:
    """ApproxSign's function: 2 u + u ** 2 below 0, 2 u - u ** 2 above, constant beyond -1 and 1."""
    return torch.where(u < 0, 2 * u + u * u, 2 * u - u * u).where(u.abs() < 1, u.sign())


def swish(u: Tensor) -> Tensor:
    z = 5 * u
    return 2 / (1 + (-z).exp()) * (1 + z * (1 - 1 / (1 + (-z).exp()))) - 1


def hyperbolic(t: float) -> Function:
    return lambda u: max(1 / t, 1) * torch.tanh(t * u)


def power(o: float) -> Function:
    """ReSTE's function, linear near 0 and constant far from it."""

    def of(u: Tensor) -> Tensor:
        size = u.abs()
        steep = 0.1 ** (1 / o - 1) * size  # both meet at 0.1
        inside = torch.where(size > 0.1, size ** (1 / o), steep)
        return u.sign() * inside.where(size <= 1.5, torch.tensor(1.5 ** (1 / o), dtype=u.dtype))

    return of


@pytest.mark.parametrize(
    ("estimator", "function", "progress"),
    [
        (Window(), lambda u: u.clamp(-1, 1), None),
        (Window(width=0.5), lambda u: u.clamp(-0.5, 0.5), None),
        (Clipped(), lambda u: u.clamp(-1, 1), None),
        (StraightThrough(), lambda u: u, None),
        (ApproxSign(), quadratic, None),
        (SwishSign(), swish, None),
        (EDE(), hyperbolic(0.1), 0.0),
        (EDE(), hyperbolic(1.0), 0.5),
        (EDE(), hyperbolic(10.0), 1.0),
        (EDE(t_min=0.5, t_max=2.0), hyperbolic(2.0), 1.0),
        (ReSTE(), power(1.0), 0.0),
        (ReSTE(), power(2.0), 0.5),
        (ReSTE(), power(3.0), 1.0),
    ],
    ids=lambda given: "" if callable(given) else repr(given),
)
def test_derivative_is_the_slope_of_the_function(
    estimator: Estimator, function: Function, progress: float | None
) -> None:
    # None of the points lies on a kink.
    u, step = torch.linspace(-2.0037, 2.0011, 397, dtype=torch.float64), 1e-6
    slope = (function(u + step) - function(u - step)) / (2 * step)
    at = None if progress is None else torch.tensor(progress)
    assert estimator.follows_progress is (progress is not None)
    assert_close(estimator.derivative(u, at), slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("estimator", [ApproxSign(), SwishSign(), EDE(), ReSTE(), Window()], ids=repr)
def test_derivative_far_from_the_threshold_is_finite_and_keeps_the_dtype(
    estimator: Estimator, dtype: torch.dtype
) -> None:
    u = torch.tensor([-1e30, -300.0, 300.0, 1e30], dtype=dtype)
    derivative = estimator.derivative(u, torch.tensor(1.0))
    assert derivative.dtype == dtype
    assert derivative.isfinite().all()
    assert derivative.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Window(width=0), "Window.width: got 0, expected a finite number above 0"),
        (lambda: SwishSign(beta=-1), "SwishSign.beta: got -1"),
        (lambda: EDE(t_max=math.inf), "EDE.t_max: got inf, expected a finite number above 0"),
        (lambda: ReSTE(o_end=0.5), "ReSTE.o_end: got 0.5, expected a finite number of at least 1"),
        (lambda: EDE(t_min=5, t_max=1), 'EDE.t_min: got 5, expected a number of at most "t_max", which is 1'),
        (lambda: ReSTE(small=5), 'ReSTE.small: got 5, expected a number of at most "bound", which is 1.5'),
    ],
)
def test_options_out_of_bounds_are_refused(make: Callable[[], Estimator], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
