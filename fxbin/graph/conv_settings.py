"""The settings of a conv2d call site, whether a module has them or a function gets them."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from fxbin.graph.attribute import attribute
from fxbin.graph.call_site import CallSite
from fxbin.graph.record import TensorSpec, spec_of

Pair = tuple[int, int]


@dataclass(frozen=True)
class ConvSettings:
    """Numbers for the vertical and the horizontal axis."""

    kernel: Pair
    """Size of the kernel."""

    stride: Pair
    """Stride."""

    padding: Pair
    """Padding, in pixels of both sides together, which ``"same"`` may distribute unevenly."""

    dilation: Pair
    """Dilation."""


def conv_settings(site: CallSite) -> ConvSettings:
    """The settings of `site`."""
    stride, padding, dilation = _given(site)
    kernel, steps = _kernel(site), _pair(dilation)
    if padding == "same":
        both = (steps[0] * (kernel[0] - 1), steps[1] * (kernel[1] - 1))
    else:
        sides = _pair(0 if padding == "valid" else padding)
        both = (2 * sides[0], 2 * sides[1])
    return ConvSettings(kernel, _pair(stride), both, steps)


def _given(site: CallSite) -> tuple[Any, Any, Any]:
    if site.is_function:
        found = site.arguments
        return found["stride"], found["padding"], found["dilation"]
    layer = site.owner.get_submodule(str(site.node.target))
    assert isinstance(layer, nn.Conv2d)
    return layer.stride, layer.padding, layer.dilation


def _kernel(site: CallSite) -> Pair:
    spec = spec_of(site.w) if site.is_function else None
    shape = spec.shape if isinstance(spec, TensorSpec) else None
    if shape is None:
        assert site.weight_path is not None
        shape = tuple(attribute(site.owner, site.weight_path).shape)
    return shape[-2], shape[-1]


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return value, value
    found = tuple(value)
    return (found[0], found[0]) if len(found) == 1 else (found[0], found[1])
