"""Plans the export of each call site on a copy of the model."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from fxbin.binarized.module import BinarizedModule
from fxbin.config.example_inputs import example_inputs as inputs_from_config
from fxbin.errors import ExportError
from fxbin.export.circular_padding import spell_out_circular_padding
from fxbin.export.hoist_padding import hoist_padding
from fxbin.export.inputs import BoundInputs, bind_inputs
from fxbin.export.lower import lower_binarizers
from fxbin.export.record import record_run
from fxbin.export.remove_dropout import remove_dropout
from fxbin.export.report import Operators, SiteExport


def plan_export(
    model: BinarizedModule,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    all_enabled: bool = False,
) -> tuple[SiteExport, ...]:
    """Plan how `export_onnx` would export each call site of `model`, in execution order.

    Inputs are as for `export_onnx`. With `all_enabled`, the plan is for the end of training, when all
    binarizers are enabled. Raises ExportError if the model does not run on the inputs.
    """
    module, inputs = prepare(model, example_inputs, example_kwargs)
    if all_enabled:
        module.binarization.enable(activations=True, weights=True)
    return lower(module, inputs, final_values=not all_enabled)


def prepare(
    model: BinarizedModule,
    args: tuple[Any, ...] | None,
    kwargs: Mapping[str, Any] | None,
    *,
    with_hooks: bool = True,
) -> tuple[BinarizedModule, BoundInputs]:
    """Copy `model` in eval mode, with dropout and padding rewritten; return it with inputs on its device.

    Forward hooks on the model itself are a part of the graph of the copy; without `with_hooks`, they are not,
    and run around it.
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
    module.show_running(args, kwargs, with_hooks=with_hooks)
    inputs = _inputs(module, args, kwargs)
    remove_dropout(module)
    hoist_padding(module)
    spell_out_circular_padding(module)
    return module, inputs


def lower(
    module: fx.GraphModule,
    inputs: BoundInputs,
    *,
    operators: Operators = "openvino",
    final_values: bool = True,
) -> tuple[SiteExport, ...]:
    """Lower the binarizers of `module`, a result of `prepare`, in place; return how each site is exported."""
    with torch.no_grad():
        record = record_run(module, inputs.values)
        return lower_binarizers(module, record, operators=operators, final_values=final_values)


def _inputs(module: BinarizedModule, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BoundInputs:
    bound = bind_inputs(module.graph, args, kwargs)
    device = _device(module)
    return BoundInputs(bound.with_tensors([x.to(device) for x in bound.tensors]), bound.names)


def _device(module: BinarizedModule) -> torch.device:
    tensor = next(iter((*module.parameters(), *module.buffers())), None)
    return torch.device("cpu") if tensor is None else tensor.device
