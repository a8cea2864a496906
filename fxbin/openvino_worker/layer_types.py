"""The types of operators that a compiled model runs."""

from typing import Any

ONE_BIT = "BinaryConvolution"
"""OpenVINO's type of a 1-bit convolution."""


def layer_types(compiled: Any) -> list[str]:
    """The type of each operator of a compiled model, such as ``"BinaryConvolution"``."""
    operators = compiled.get_runtime_model().get_ordered_ops()
    return [operator.get_rt_info()["layerType"].astype(str) for operator in operators]


def convolution_kind(compiled: Any) -> str:
    """The type of the only convolution in a compiled model; ``"no convolution"`` if there is none."""
    return next((kind for kind in layer_types(compiled) if "Convolution" in kind), "no convolution")
