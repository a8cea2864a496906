"""Which call sites OpenVINO's 1-bit convolution takes, and why it does not take the others.

Everything here was measured on OpenVINO 2026.4.1 (CPU plugin); docs/deployment.md has the table. What is
refused would run in float, compute wrong numbers or NaN, fail to compile, or crash.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.binarizers.axes import pair
from fxbin.graph.call_site import CallSite

CHANNEL_BLOCK = 8
"""The kernel reads input channels in groups of 8; with a rest it computes wrong numbers."""

MAX_PADDING = 2
"""Most padding on the left that every kernel variant takes (AVX-512 takes 4, AVX2 and SSE4.1 2)."""


@dataclass(frozen=True)
class ConvShapes:
    """What a call site sees at run time, with batch size and image size of the example inputs."""

    x: tuple[int, ...]
    """Shape of the input: ``(1, 64, 56, 56)``."""

    y: tuple[int, ...]
    """Shape of the output."""

    dtype: torch.dtype
    weight: Tensor | None
    """Value of the weight before its binarizer; None where it depends on the model's input."""

    after_sum: bool
    """Whether the input is a sum with a BatchNorm or the like on top, see `fxbin.export.sum_fusion`."""


@dataclass(frozen=True)
class Preparation:
    """What goes in front of an activation binarizer so that the 1-bit kernel takes the call site.

    Exact. Padding is zeros, and as the threshold s t is never negative, a zero in front of the
    binarizer is a zero behind it. The barrier is a max pooling over single pixels.
    """

    channels: int
    sides: tuple[int, int, int, int]
    """Zeros left, right, top, bottom; the convolution then pads nothing. All 0: it keeps its padding."""

    barrier: bool
    """Whether what computes the input has to be kept apart, see `fxbin.export.sum_fusion`."""

    @property
    def padding(self) -> tuple[int, ...]:
        """The zeros as ``torch.nn.functional.pad`` takes them; empty if there are none."""
        return (*self.sides, 0, self.channels) if self.channels or any(self.sides) else ()

    @property
    def reason(self) -> str:
        """What the report says about it; empty if nothing is needed."""
        parts = [f"{self.channels} zero channels added"] if self.channels else []
        if any(self.sides):
            parts.append(f"padding {self.sides} moved in front of the binarizer")
        if self.barrier:
            parts.append("kept apart from the sum in front of it by a 1x1 max pooling")
        return "; ".join(parts)


def why_disabled(site: CallSite) -> str | None:
    """Why the training stage keeps this call site out of 1 bit; None if both binarizers are enabled."""
    off = [
        kind
        for kind, binarizer in (("activations", site.activation), ("weights", site.weight))
        if binarizer is not None and not binarizer.is_enabled
    ]
    return f"its {' and '.join(off)} are not binarized at this stage" if off else None


def why_float(site: CallSite, shapes: ConvShapes) -> str | None:
    """Why this call site, with both binarizers enabled, needs float operators; None if 1 bit is right."""
    if site.activation is None or site.weight is None:
        missing = "input" if site.activation is None else "weight"
        return f"its {missing} does not come straight from a binarizer"
    for binarizer in (site.activation, site.weight):
        if not has_known_levels(binarizer):
            return f"{type(binarizer).__name__} is not a binarizer whose levels fxbin knows"
    if len(site.x.users) > 1:
        return "its binarized input is used elsewhere too"
    if shapes.weight is None:
        return "its weight depends on the input of the model"
    if site.arguments["groups"] != 1:
        return f"it has {site.arguments['groups']} groups"
    if _scale_varies_inside(site.weight, shapes.weight):
        return "its weight scale varies inside a filter"
    if shapes.dtype != torch.float32:
        return f"it computes in {str(shapes.dtype).removeprefix('torch.')}, not in float32"
    if len(shapes.x) != 4:
        return f"its input has {len(shapes.x)} dimensions, not 4"
    return None


def why_values_need_float(site: CallSite, shapes: ConvShapes) -> str | None:
    """Why the scales that this call site has now need float operators; None if 1 bit is right.

    For a call site that `why_float` lets through. Weight scales of 0 are no reason, see `Levels.above_zero`.
    """
    assert site.activation is not None
    assert site.weight is not None
    assert shapes.weight is not None
    _, s = site.activation.levels()
    scale = site.weight.scale(shapes.weight)
    bad = int((~(scale.isfinite() & (scale >= 0))).sum())
    if bad:
        where = f" in {bad} of {scale.numel()} filters" if scale.numel() > 1 else ""
        return f"its weight scale is below 0 or not finite{where}"
    if not (s > 0 and s.isfinite()):
        return f"its activation scale is {float(s):g}"
    return None


def preparation(site: CallSite, shapes: ConvShapes) -> Preparation:
    """What makes the 1-bit kernel right for a call site that `why_float` lets through."""
    sides = _padded_sides(site.arguments, shapes)
    symmetric = sides[0] == sides[1] and sides[2] == sides[3]
    if symmetric and max(sides) <= MAX_PADDING and sides[0] <= shapes.y[3]:
        sides = (0, 0, 0, 0)
    channels = -shapes.x[1] % CHANNEL_BLOCK
    barrier = shapes.after_sum and not channels and not any(sides)  # a Pad is a barrier as well
    return Preparation(channels, sides, barrier)


def has_known_levels(binarizer: Binarizer) -> bool:
    """Whether forward is the one of fxbin, so that `levels` or `scale` describe the binarizer."""
    cls = type(binarizer)
    known = ActivationBinarizer if isinstance(binarizer, ActivationBinarizer) else WeightBinarizer
    return isinstance(binarizer, known) and cls.binarize is known.binarize and cls.forward is known.forward


def _scale_varies_inside(binarizer: WeightBinarizer, weight: Tensor) -> bool:
    scale = binarizer.scale(weight)
    return scale.numel() > 1 and tuple(scale.shape) != (weight.shape[0], 1, 1, 1)


def _padded_sides(arguments: dict[str, Any], shapes: ConvShapes) -> tuple[int, int, int, int]:
    """Padding of the convolution as (left, right, top, bottom)."""
    padding = arguments["padding"]
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        assert shapes.weight is not None
        total = [
            dilation * (size - 1)
            for dilation, size in zip(pair(arguments["dilation"]), shapes.weight.shape[2:], strict=True)
        ]
        # torch puts the odd one at the end.
        return (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)
    vertical, horizontal = pair(padding)
    return (horizontal, horizontal, vertical, vertical)
