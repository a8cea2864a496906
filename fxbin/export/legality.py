"""Decides which call sites OpenVINO can run as 1-bit convolutions, and why not the others.

All conditions were measured with the CPU plugin of OpenVINO 2026.4.1; docs/deployment.md has the table. Other
call sites would run in float, compute wrong numbers or NaN, fail to compile, or crash.
"""

from dataclasses import dataclass

import torch

from fxbin.graph.call_site import CallSite
from fxbin.lowering.conv_shapes import ConvShapes, padded_sides
from fxbin.lowering.levels import (
    activation_levels,
    has_center,
    scale_varies_inside,
    weight_levels,
    why_unknown_levels,
)

CHANNEL_BLOCK = 8
"""The kernel reads input channels in groups of 8; with a remainder it computes wrong numbers."""

MAX_PADDING = 2
"""The largest padding on the left that every kernel supports (AVX-512: 4, AVX2 and SSE4.1: 2)."""


@dataclass(frozen=True)
class Preparation:
    """The operators to insert before an activation binarizer so that the 1-bit kernel can run the call site.

    They are exact: padding adds values that are above no threshold, so that the binarizer maps them to zeros,
    and the barrier is a max pooling over single pixels.
    """

    channels: int
    """Number of such channels to add."""

    sides: tuple[int, int, int, int]
    """Values left, right, top, bottom, in place of the padding of the convolution; all 0 to keep that."""

    barrier: bool
    """Whether to separate the binarizer from a sum before it, see `fxbin.lowering.sum_fusion`."""

    @property
    def padding(self) -> tuple[int, ...]:
        """The amounts of values as an argument of ``torch.nn.functional.pad``; empty if there are none."""
        return (*self.sides, 0, self.channels) if self.channels or any(self.sides) else ()

    @property
    def reason(self) -> str:
        """Text for the report; empty if nothing is needed."""
        parts = [f"{self.channels} zero channels added"] if self.channels else []
        if any(self.sides):
            parts.append(f"padding {self.sides} moved before the binarizer")
        if self.barrier:
            parts.append("kept apart from the sum before it by a 1x1 max pooling")
        return "; ".join(parts)


def why_float(site: CallSite, shapes: ConvShapes) -> str | None:
    """Why a call site without disabled binarizers needs float operators; None if 1 bit is correct."""
    if site.activation is None or site.weight is None:
        missing = "input" if site.activation is None else "weight"
        return f"its {missing} does not come straight from a binarizer"
    for binarizer in (site.activation, site.weight):
        unknown = why_unknown_levels(binarizer)
        if unknown is not None:
            return unknown
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


def why_values_need_float(site: CallSite, shapes: ConvShapes, *, are_final: bool = True) -> str | None:
    """Why the levels of a call site need float operators; None if 1 bit is correct.

    Only for a call site without a reason in `why_float`. Weight scales of 0 are allowed, see
    `fxbin.export.small_scales`. Unless the values `are_final`, those that the first batch will replace do not
    count.
    """
    assert site.activation is not None
    assert site.weight is not None
    assert shapes.weight is not None
    if has_center(site.weight, shapes.weight):
        return "its weights have levels that are not -a and a"
    scale = weight_levels(site.weight, shapes.weight).high
    bad = int((~(scale.isfinite() & (scale >= 0))).sum())
    if bad:
        where = f" in {bad} of {scale.numel()} filters" if scale.numel() > 1 else ""
        return f"its weight scale is below 0 or not finite{where}"
    if not (are_final or site.activation.is_scale_initialized):
        return None
    levels = activation_levels(site.activation, shapes.x, shapes.dtype)
    s = levels.high - levels.low
    if not (s > 0 and s.isfinite()):
        low, high = levels.low.item(), levels.high.item()
        return f"its activations are {low:g} or {high:g}" if low else f"its activation scale is {high:g}"
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
