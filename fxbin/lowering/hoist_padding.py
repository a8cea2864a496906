"""Moves the padding of a convolution before its activation binarizer."""

from typing import Any

from torch import fx, nn

from fxbin.binarizers import ActivationBinarizer
from fxbin.graph.call_site import CONV2D_FUNCTIONS, called_binarizer
from fxbin.lowering.levels import has_known_levels, maps_zero_to_zero


def hoist_padding(module: fx.GraphModule) -> None:
    """Move padding before binarizers in `module`, in place, wherever that changes no value.

        before:  x -> activation binarizer -> pad -> conv2d
        after:   x -> pad -> activation binarizer -> conv2d

    OpenVINO's 1-bit kernel requires the binarizer next to the convolution. The result is exact, because all
    pixels of a channel have the same threshold. Padding with zeros is moved only if the binarizer maps zero
    to zero; padding of channels, or with another constant, is not moved.
    """
    for pad in list(module.graph.nodes):
        if pad.op != "call_function" or pad.target is not nn.functional.pad:
            continue
        binarized = pad.args[0]
        binarizer = called_binarizer(module, binarized)
        if not isinstance(binarizer, ActivationBinarizer) or not has_known_levels(binarizer):
            continue
        feeds_conv = all(user.target in CONV2D_FUNCTIONS for user in pad.users)
        mode = _spatial_mode(*pad.args[1:], **pad.kwargs)
        if not feeds_conv or len(binarized.users) > 1 or mode is None:
            continue
        if mode == "constant" and not maps_zero_to_zero(binarizer.levels()):
            continue
        with module.graph.inserting_before(binarized):
            hoisted = module.graph.create_node(
                "call_function", pad.target, (binarized.args[0], *pad.args[1:]), pad.kwargs
            )
        hoisted.meta = pad.meta
        binarized.args = (hoisted,)
        pad.replace_all_uses_with(binarized)
        module.graph.erase_node(pad)


def _spatial_mode(pad: Any, mode: str = "constant", value: float | None = None) -> str | None:
    """The mode of padding of height and width; None for that of channels, or with a constant other than 0."""
    is_moved = isinstance(pad, tuple | list) and len(pad) <= 4 and (mode != "constant" or not value)
    return mode if is_moved else None
