"""Writes a deployed model as a program of `torch.export`, which PyTorch runs without the model's code."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fxbin import torch_private
from fxbin.atomic_write import replacing
from fxbin.binarized.unwrap import transformed
from fxbin.config.example_inputs import given_inputs
from fxbin.deployment import DeployedModule, deploy
from fxbin.deployment.quantize_rest import Samples
from fxbin.errors import ExportError
from fxbin.export.output_file import explained_writing
from fxbin.export.output_path import check_output_path, checked_order
from fxbin.lowering.inputs import with_batch

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""


def export_program(
    model: nn.Module,
    path: str | os.PathLike[str],
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    calibration: Samples | None = None,
    dynamic_batch: bool = False,
) -> DeployedModule:
    """Deploy `model` for the 1-bit engine, as `fxbin.deploy` does, and write it to one file for PyTorch.

    The file needs neither the code nor the config of the model. A program that loads it imports the engine's
    operators first, and calls the model with the same arguments::

        import fxbin.engine.operators
        loaded = torch.export.load("model.pt2").module()

    `model` does not change. An existing file is replaced in one step, if the export succeeds.

    Args:
        model: a transformed model, in the stage in which it is to be deployed.
        path: the .pt2 file to write; its folder must exist.
        example_inputs: positional inputs, for their shapes; by default from `input_info` of the config.
        example_kwargs: keyword inputs, likewise.
        calibration: samples of real data, with which other layers become int8; see `fxbin.deploy`.
        dynamic_batch: whether axis 0 of all inputs is dynamic; otherwise the file takes the shapes of the
            example inputs only.

    Returns:
        The deployed model that is in the file.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ExportError: an argument is wrong, the inputs or samples do not fit, the model has code that no graph
            can hold, `torch.export` cannot export it, or `path` cannot be written.

    Warns:
        UserWarning: as `fxbin.deploy`.
    """
    path = checked_order(model, path, "export_program", ".pt2")
    if not isinstance(dynamic_batch, bool):
        raise ExportError(f"dynamic_batch: expected True or False, got {dynamic_batch!r}")
    check_output_path(path, ".pt2")
    binarized = transformed(model, "export_program")
    args, kwargs = given_inputs(binarized, binarized.binarization.config, example_inputs, example_kwargs)
    deployed = deploy(model, args, example_kwargs=kwargs, calibration=calibration)
    program = _program(deployed, (args, dict(kwargs)), dynamic_batch=dynamic_batch)
    with explained_writing(path, "path"), replacing(path) as stream:
        torch.export.save(program, stream)
    return deployed


def _program(deployed: DeployedModule, call: Call, *, dynamic_batch: bool) -> torch.export.ExportedProgram:
    device = next((buffer.device for buffer in deployed.buffers()), torch.device("cpu"))
    shapes = torch.export.ShapesCollection()

    def example(x: Tensor) -> Tensor:
        x = x.to(device, copy=True)  # which the export may write to
        if dynamic_batch and x.dim():
            x = with_batch(x)
            shapes[x] = {0: torch.export.Dim.DYNAMIC}
        return x

    args, kwargs = torch_private.pytree.tree_map_only(Tensor, example, call)
    try:
        return torch.export.export(
            deployed, args, kwargs, dynamic_shapes=shapes.dynamic_shapes(deployed, args, kwargs)
        )
    except Exception as error:
        hint = " With dynamic_batch=True no part of it may depend on the batch size." if dynamic_batch else ""
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ExportError(
            f"model: torch.export stopped: {type(error).__name__}: {lines[0] if lines else ''}.{hint}"
        ) from error
