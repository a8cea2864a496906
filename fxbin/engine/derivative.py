"""What counts as the derivative of a two-level function, as the engine knows it."""

from typing import NamedTuple


class Derivative(NamedTuple):
    """One of the C enum ``fxbin_estimator``, with its numbers. They have to be above 0, if it has them.

    u is the distance from the threshold, in units of half the distance of the levels.
    """

    estimator: int
    parameter: float = 0.0
    peak: float = 0.0

    @classmethod
    def approx_sign(cls) -> "Derivative":
        """``max(0, 2 - 2 abs(u))``."""
        return cls(1)

    @classmethod
    def straight_through(cls) -> "Derivative":
        """1."""
        return cls(2)

    @classmethod
    def clipped(cls, width: float) -> "Derivative":
        """1 where ``abs(u) <= width``, else 0."""
        return cls(3, width)

    @classmethod
    def ede(cls, t: float, k: float) -> "Derivative":
        """``k t (1 - tanh(t u) ** 2)``."""
        return cls(4, t, k * t)

    @classmethod
    def swish_sign(cls, beta: float) -> "Derivative":
        """``beta (2 - z tanh(z / 2)) / (1 + cosh(z))`` with ``z = beta u``."""
        return cls(5, beta)
