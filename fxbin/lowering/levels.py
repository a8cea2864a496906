"""The two levels of a binarizer as constants."""

import torch
from torch import Tensor

from fxbin import torch_private
from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.binarizers.composed_weight import ComposedWeightBinarizer
from fxbin.binarizers.levels import Levels
from fxbin.original.plain_code import runs_code_of

_METHODS = ("forward", "binarize")
"""The methods that make up what a binarizer computes from its levels."""


def activation_levels(binarizer: ActivationBinarizer, shape: tuple[int, ...], dtype: torch.dtype) -> Levels:
    """Return the levels for inputs ``(n, c, h, w)`` or ``(c, h, w)`` of `dtype`.

    They are rounded as in the forward, so that the same inputs are above the threshold, and have as many axes
    as the input. The threshold has one value for each channel.
    """
    threshold, *levels = binarizer.levels()
    per_channel = threshold.to(dtype).flatten().expand(binarizer.channels)
    low, high = (level.to(dtype).view([1] * len(shape)) for level in levels)
    return Levels(per_channel.view(*[1] * (len(shape) - 3), -1, 1, 1), low, high)


def weight_levels(binarizer: WeightBinarizer, weight: Tensor) -> Levels:
    """Return the levels of `weight` ``(out, in / groups, kh, kw)``, of whose shape they have the axes."""
    levels = (level.detach().to(weight.dtype) for level in binarizer.levels(weight))
    threshold, low, high = (x.view([1] * weight.dim()) if x.dim() == 0 else x for x in levels)
    return Levels(threshold, low, high)


def signed_weight(binarizer: WeightBinarizer, weight: Tensor) -> tuple[Tensor, Levels]:
    """Return `weight` minus its thresholds, and its levels for that: the sign decides, so it can be packed.

    A difference is above 0 exactly where the weight is above its threshold.
    """
    threshold, low, high = weight_levels(binarizer, weight)
    return weight - threshold, Levels(torch.zeros_like(threshold), low, high)


def maps_zero_to_zero(levels: Levels) -> bool:
    """Whether an input of 0 becomes 0, so that padding may come before or after the binarizer."""
    return not levels.low.any() and bool((levels.threshold >= 0).all())


def has_known_levels(binarizer: Binarizer) -> bool:
    """Whether `levels` describes what the binarizer computes while it is enabled."""
    return why_unknown_levels(binarizer) is None


def returns_its_input(binarizer: Binarizer) -> bool:
    """Whether the binarizer is disabled, and neither its own code nor a hook then does something else."""
    return (
        not binarizer.is_enabled
        and any(runs_code_of(binarizer, kind, ("forward",)) for kind in (ActivationBinarizer, Binarizer))
        and not any(torch_private.forward_hooks(binarizer))
    )


def why_unknown_levels(binarizer: Binarizer) -> str | None:
    """Why `levels` does not describe what the binarizer computes; None if it does.

    A class of a user's own that overrides `binarize` declares its levels by overriding `levels` as well;
    they are compared with what it computes.
    """
    kind = type(binarizer).__name__
    known = next((each for each in _KNOWN if isinstance(binarizer, each)), None)
    if known is None:
        return f"{kind} is not a binarizer whose levels fxbin knows"
    replaced = next((name for name in _METHODS if name in vars(binarizer)), None)
    if replaced is not None:
        return f"{replaced} was assigned to its {kind}"
    if any(torch_private.forward_hooks(binarizer)):
        return f"its {kind} has hooks, which may change what it returns"
    if runs_code_of(binarizer, known, _METHODS):
        return None
    if not (runs_code_of(binarizer, known, ("forward",)) and _declares_levels(type(binarizer))):
        return f"{kind} is not a binarizer whose levels fxbin knows: it overrides binarize, but not levels"
    return None if _computes_its_levels(binarizer) else f"{kind}.binarize has other levels than levels() says"


_KNOWN: tuple[type[Binarizer], ...] = (ActivationBinarizer, ComposedWeightBinarizer, WeightBinarizer)


def _declares_levels(kind: type[Binarizer]) -> bool:
    """Whether the class that overrides `binarize`, or one derived from it, overrides `levels` as well."""
    named = (cls for cls in kind.__mro__ if not {"binarize", "levels"}.isdisjoint(vars(cls)))
    return "levels" in vars(next(named))


@torch.no_grad()
def _computes_its_levels(binarizer: Binarizer) -> bool:
    """Whether `binarize` returns the levels that `levels` declares, for values on both sides of 0."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(binarizer, ActivationBinarizer):
        threshold, low, high = activation_levels(binarizer, (1, binarizer.channels, 8, 8), torch.float32)
        spread = 2 * (high - low).abs() + threshold.abs().amax()
        x = torch.randn(1, binarizer.channels, 8, 8, generator=generator).to(spread) * spread
    else:
        assert isinstance(binarizer, WeightBinarizer)
        if binarizer.tried_shape is None:
            return False
        x = torch.randn(binarizer.tried_shape, generator=generator).to(_device(binarizer))
        threshold, low, high = weight_levels(binarizer, x)
    was_training, binarizer.training = binarizer.training, False
    try:
        return torch.equal(binarizer.binarize(x), torch.where(x > threshold, high, low).expand_as(x))
    finally:
        binarizer.training = was_training


def _device(binarizer: Binarizer) -> torch.device:
    return next((parameter.device for parameter in binarizer.parameters()), binarizer.enabled.device)


def scale_varies_inside(binarizer: WeightBinarizer, weight: Tensor) -> bool:
    """Whether the weights of one filter have more than two levels."""
    return any(
        level.numel() > 1 and tuple(level.shape) != (weight.shape[0], 1, 1, 1)
        for level in binarizer.levels(weight)
    )


def has_center(binarizer: WeightBinarizer, weight: Tensor) -> bool:
    """Whether `weight` has other levels than -a and a: its rule has a center, or the levels have one."""
    if isinstance(binarizer, ComposedWeightBinarizer) and binarizer.center(weight) is not None:
        return True  # which may be 0 now, before training
    _, low, high = weight_levels(binarizer, weight)
    return not torch.equal(low, -high)
