"""The inputs of a model: their names and shapes."""

from collections.abc import Mapping
from typing import Any

from fxbin.openvino_worker.job import MisfitError


def fix_shapes(model: Any, shapes: list[list[int]]) -> None:
    """Give the inputs of a dynamic `model` these shapes; raise MisfitError if they do not fit the model."""
    if len(shapes) != len(model.inputs):
        names = ", ".join(port.any_name for port in model.inputs)
        raise MisfitError(f"the file takes {len(model.inputs)} tensors ({names}), got {len(shapes)}")
    if model.is_dynamic():
        model.reshape(dict(zip(model.inputs, shapes, strict=True)))
    for port, shape in zip(model.inputs, shapes, strict=True):
        if list(port.shape) != shape:
            raise MisfitError(f"the file takes {port.any_name!r} of shape {list(port.shape)}, got {shape}")


def input_names(model: Any, given: Mapping[str, Any]) -> list[str]:
    """Keys of `given` in the order of the inputs of `model`: by name, or by position if names differ."""
    names = [port.any_name for port in model.inputs]
    return names if set(names) <= set(given) else list(given)
