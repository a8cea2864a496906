"""What the operators of a compiled model run as."""

from typing import Any

ONE_BIT = "BinaryConvolution"


def layer_types(compiled: Any) -> list[str]:
    """What each operator of a compiled model runs as: ``"BinaryConvolution"``."""
    operators = compiled.get_runtime_model().get_ordered_ops()
    return [operator.get_rt_info()["layerType"].astype(str) for operator in operators]


def convolution_kind(compiled: Any) -> str:
    """What the one convolution of a compiled model runs as."""
    return next((kind for kind in layer_types(compiled) if "Convolution" in kind), "no convolution")
