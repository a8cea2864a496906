"""The two levels of a binarizer as constants."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.original.plain_code import runs_code_of

_METHODS = ("forward", "binarize")
"""The methods that make up what a binarizer computes from its levels."""

SMALLEST_SCALE = 2.0**-100
"""Smallest scale of a weight. It is negligible compared with other scales, but far above the smallest normal
number, because it is multiplied and divided."""


@dataclass(frozen=True)
class Levels:
    """A function of x: `high` where ``x > threshold``, else `low`. All three broadcast to x in its dtype."""

    threshold: Tensor
    low: Tensor
    high: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.threshold, self.low, self.high))

    def scaled(self, factor: float) -> "Levels":
        """Multiply both levels by `factor`, which is exact for a power of two."""
        return Levels(self.threshold, self.low * factor, self.high * factor)

    def above_zero(self) -> tuple["Levels", int]:
        """Raise scales of a weight to at least `SMALLEST_SCALE`; return levels and number of raised scales.

        A filter whose weights are all 0, for example after pruning, has the levels 0 and 0. OpenVINO divides
        by them: it then runs the convolution in float on an input of one bit per value, and crashes or gives
        NaN. With `SMALLEST_SCALE`, a sum over n inputs of 0 or s that should be 0 is at most n s 2 ** -100.
        """
        high = self.high.clamp(min=SMALLEST_SCALE)
        return Levels(self.threshold, -high, high), int((high != self.high).sum())

    def with_channels(self, extra: int) -> "Levels":
        """Extend levels to an activation ``(n, c + extra, h, w)``; new channels have the threshold 0."""
        return Levels(nn.functional.pad(self.threshold, (0, 0, 0, 0, 0, extra)), self.low, self.high)


def activation_levels(binarizer: ActivationBinarizer, shape: tuple[int, ...], dtype: torch.dtype) -> Levels:
    """Return the levels 0 and s with threshold s t, for inputs ``(n, c, h, w)`` or ``(c, h, w)`` of `dtype`.

    They are rounded as in the forward, so that the same inputs are above the threshold.
    """
    threshold, s = binarizer.levels()
    per_channel = threshold.view(*[1] * (len(shape) - 3), -1, 1, 1)
    high = s.view([1] * len(shape)).to(dtype)
    return Levels(per_channel.to(dtype), torch.zeros_like(high), high)


def weight_levels(binarizer: WeightBinarizer, weight: Tensor) -> Levels:
    """Return levels -a and a with threshold 0; a is the scale of `weight` ``(out, in / groups, kh, kw)``."""
    a = binarizer.scale(weight)
    return Levels(torch.zeros_like(weight[:1, :1, :1, :1]), -a, a)


def has_known_levels(binarizer: Binarizer) -> bool:
    """Whether `levels` or `scale` describe what the binarizer computes while it is enabled."""
    return why_unknown_levels(binarizer) is None


def returns_its_input(binarizer: Binarizer) -> bool:
    """Whether the binarizer is disabled, and neither its own code nor a hook then does something else."""
    return (
        not binarizer.is_enabled
        and any(runs_code_of(binarizer, kind, ("forward",)) for kind in (ActivationBinarizer, Binarizer))
        and not any(torch_private.forward_hooks(binarizer))
    )


def why_unknown_levels(binarizer: Binarizer) -> str | None:
    """Why `levels` or `scale` do not describe what the binarizer computes; None if they do."""
    kind = type(binarizer).__name__
    known = ActivationBinarizer if isinstance(binarizer, ActivationBinarizer) else WeightBinarizer
    if not isinstance(binarizer, known):
        return f"{kind} is not a binarizer whose levels fxbin knows"
    replaced = next((name for name in _METHODS if name in vars(binarizer)), None)
    if replaced is not None:
        return f"{replaced} was assigned to its {kind}"
    if not runs_code_of(binarizer, known, _METHODS):
        return f"{kind} is not a binarizer whose levels fxbin knows"
    if any(torch_private.forward_hooks(binarizer)):
        return f"its {kind} has hooks, which may change what it returns"
    return None


def scale_varies_inside(binarizer: WeightBinarizer, weight: Tensor) -> bool:
    """Whether the weights of one filter have more than two levels."""
    scale = binarizer.scale(weight)
    return scale.numel() > 1 and tuple(scale.shape) != (weight.shape[0], 1, 1, 1)
