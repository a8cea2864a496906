"""Prepares a copy of a trained model for an export or a deployment."""

import copy
from collections.abc import Mapping
from typing import Any

import torch

from fxbin.binarized.module import BinarizedModule
from fxbin.config.example_inputs import example_inputs as inputs_from_config
from fxbin.errors import ExportError
from fxbin.lowering.check_outputs import check_outputs
from fxbin.lowering.circular_padding import spell_out_circular_padding
from fxbin.lowering.hoist_padding import hoist_padding
from fxbin.lowering.inputs import BoundInputs, bind_inputs
from fxbin.lowering.remove_dropout import remove_dropout


def prepare(
    model: BinarizedModule,
    args: tuple[Any, ...] | None,
    kwargs: Mapping[str, Any] | None,
    *,
    with_hooks: bool = True,
) -> tuple[BinarizedModule, BoundInputs]:
    """Return a copy of `model` in eval mode, with dropout and padding rewritten, and inputs on its device.

    Forward hooks on the model itself are part of the graph of the copy; without `with_hooks`, they are not,
    but run around it. Raises ExportError if the inputs do not fit, or if no graph can hold the model's code.
    """
    if model.is_shown_only:
        islands = ", ".join(island.scope for island in model.islands)
        raise ExportError(
            f"model: {type(model).__name__} has code that no graph can hold, in {islands} (`model.islands` "
            "says why), so it can be neither exported nor deployed: transform the part with its convolutions"
        )
    module = copy.deepcopy(model).eval()
    if args is None and kwargs is None:
        args, kwargs = inputs_from_config(module.binarization.config, module)
    if args is not None and not isinstance(args, tuple):
        raise ExportError(
            f"example_inputs: expected a tuple of positional inputs, got {type(args).__name__}; write (x,)"
        )
    args, kwargs = args or (), kwargs or {}
    is_new = module.show_running(args, kwargs, with_hooks=with_hooks)
    inputs = _inputs(module, args, kwargs)
    if is_new:
        check_outputs(module, model, args, kwargs)
    remove_dropout(module)
    hoist_padding(module)
    spell_out_circular_padding(module)
    return module, inputs


def _inputs(module: BinarizedModule, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BoundInputs:
    bound = bind_inputs(module.graph, args, kwargs)
    device = _device(module)
    # Copies, as the model is run on them and may change them in place.
    return BoundInputs(bound.with_tensors([x.to(device, copy=True) for x in bound.tensors]), bound.names)


def _device(module: BinarizedModule) -> torch.device:
    tensor = next(iter((*module.parameters(), *module.buffers())), None)
    return torch.device("cpu") if tensor is None else tensor.device
