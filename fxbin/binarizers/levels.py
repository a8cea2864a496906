"""The two levels of a binarizer, as declared by it: what exports, the engine and reports go by."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Levels:
    """A function of x: `high` where ``x > threshold``, else `low`. All three broadcast to x."""

    threshold: Tensor
    low: Tensor
    high: Tensor
    is_symmetric: bool = False
    """Whether `low` was computed as ``-high``, so that one gradient stands for both."""

    @classmethod
    def symmetric(cls, threshold: Tensor, high: Tensor) -> "Levels":
        """The levels ``-high`` and `high`."""
        return cls(threshold, -high, high, is_symmetric=True)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.threshold, self.low, self.high))

    @property
    def half_distance(self) -> Tensor:
        """Half of the distance between the levels: the natural unit of x around the threshold."""
        return (self.high - self.low) / 2
