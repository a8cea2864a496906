"""Tells where a new BatchNorm could not be trained with one picture: where that has one value per channel."""

from fxbin.graph.record import TensorSpec

WHY = (
    "but a batch of one picture has one value for each channel there, with which BatchNorm cannot be trained"
)
"""The reason, as the end of a sentence about a call site."""


def is_one_pixel(found: TensorSpec) -> bool:
    """Whether the tensor has a single pixel, so that BatchNorm has one value per picture and channel."""
    return found.shape[-2:] == (1, 1)
