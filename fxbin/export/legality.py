"""Decides which call sites OpenVINO can run as 1-bit convolutions, and why not the others.

All conditions were measured with the CPU plugin of OpenVINO 2026.4.1; docs/deployment.md has the table. Other
call sites would run in float, compute wrong numbers or NaN, fail to compile, or crash.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxbin.binarizers import ActivationBinarizer, Binarizer, WeightBinarizer
from fxbin.binarizers.axes import pair
from fxbin.graph.call_site import CallSite

CHANNEL_BLOCK = 8
"""The kernel reads input channels in groups of 8; with a remainder it computes wrong numbers."""

MAX_PADDING = 2
"""The largest padding on the left that every kernel supports (AVX-512: 4, AVX2 and SSE4.1: 2)."""


@dataclass(frozen=True)
class ConvShapes:
    """Shapes, dtype and weight of a call site in a run on the example inputs."""

    x: tuple[int, ...]
    """Shape of the input: ``(1, 64, 56, 56)``."""

    y: tuple[int, ...]
    """Shape of the output."""

    dtype: torch.dtype
    """Dtype of the input."""

    weight: Tensor | None
    """Value of the weight before its binarizer; None if it depends on the input of the model."""

    after_sum: bool
    """Whether the input is a sum followed by a BatchNorm or the like, see `fxbin.export.sum_fusion`."""


@dataclass(frozen=True)
class Preparation:
    """The operators to insert before an activation binarizer so that the 1-bit kernel can run the call site.

    They are exact: padding adds zeros, which the binarizer maps to zeros because the threshold s t is never
    negative, and the barrier is a max pooling over single pixels.
    """

    channels: int
    """Number of zero channels to add."""

    sides: tuple[int, int, int, int]
    """Zeros left, right, top, bottom, in place of the padding of the convolution; all 0 to keep that."""

    barrier: bool
    """Whether to separate the binarizer from a sum before it, see `fxbin.export.sum_fusion`."""

    @property
    def padding(self) -> tuple[int, ...]:
        """The amounts of zeros as an argument of ``torch.nn.functional.pad``; empty if there are none."""
        return (*self.sides, 0, self.channels) if self.channels or any(self.sides) else ()

    @property
    def reason(self) -> str:
        """Text for the report; empty if nothing is needed."""
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
    """Why a call site with both binarizers enabled needs float operators; None if 1 bit is correct."""
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
    if scale_varies_inside(site.weight, shapes.weight):
        return "its weight scale varies inside a filter"
    if shapes.dtype != torch.float32:
        return f"it computes in {str(shapes.dtype).removeprefix('torch.')}, not in float32"
    if len(shapes.x) != 4:
        return f"its input has {len(shapes.x)} dimensions, not 4"
    return None


def why_values_need_float(site: CallSite, shapes: ConvShapes) -> str | None:
    """Why the current scales of a call site need float operators; None if 1 bit is correct.

    Only for a call site without a reason in `why_float`. Weight scales of 0 are allowed, see
    `Levels.above_zero`.
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
    """Choose operators that make the 1-bit kernel correct for a call site that `why_float` accepts."""
    sides = padded_sides(site.arguments, shapes)
    symmetric = sides[0] == sides[1] and sides[2] == sides[3]
    if symmetric and max(sides) <= MAX_PADDING and sides[0] <= shapes.y[3]:
        sides = (0, 0, 0, 0)
    channels = -shapes.x[1] % CHANNEL_BLOCK
    barrier = shapes.after_sum and not channels and not any(sides)  # a Pad is also a barrier
    return Preparation(channels, sides, barrier)


def has_known_levels(binarizer: Binarizer) -> bool:
    """Whether the forward is that of fxbin, so that `levels` or `scale` describe the binarizer."""
    cls = type(binarizer)
    known = ActivationBinarizer if isinstance(binarizer, ActivationBinarizer) else WeightBinarizer
    return isinstance(binarizer, known) and cls.binarize is known.binarize and cls.forward is known.forward


def scale_varies_inside(binarizer: WeightBinarizer, weight: Tensor) -> bool:
    """Whether the weights of one filter have more than two levels."""
    scale = binarizer.scale(weight)
    return scale.numel() > 1 and tuple(scale.shape) != (weight.shape[0], 1, 1, 1)


def padded_sides(arguments: dict[str, Any], shapes: ConvShapes) -> tuple[int, int, int, int]:
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
        # torch puts the larger half at the end.
        return (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)
    vertical, horizontal = pair(padding)
    return (horizontal, horizontal, vertical, vertical)
