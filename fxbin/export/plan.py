"""Plans the export of each call site on a copy of the model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from fxbin.binarized.module import BinarizedModule
from fxbin.export.lower import lower_binarizers
from fxbin.export.lower_to_engine import lower_to_engine
from fxbin.export.report import Operators, SiteExport
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.prepare import prepare
from fxbin.lowering.record import record_run


def plan_export(
    model: BinarizedModule,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    all_enabled: bool = False,
    operators: Operators = "openvino",
) -> tuple[SiteExport, ...]:
    """Plan how `export_onnx` would export each call site of `model`, in execution order.

    Inputs are as for `export_onnx`. With `all_enabled`, the plan is for the end of training, when all
    binarizers are enabled. Raises ExportError if the model does not run on the inputs.
    """
    module, inputs = prepare(model, example_inputs, example_kwargs)
    if all_enabled:
        module.binarization.enable(activations=True, weights=True)
    return lower(module, inputs, operators=operators, final_values=not all_enabled)


def lower(
    module: fx.GraphModule,
    inputs: BoundInputs,
    *,
    operators: Operators = "openvino",
    final_values: bool = True,
) -> tuple[SiteExport, ...]:
    """Lower the binarizers of `module`, a result of `prepare`, in place; return how each site is exported."""
    if operators == "fxbin":
        return lower_to_engine(module, inputs)
    with torch.no_grad():
        record = record_run(module, inputs.values)
        return lower_binarizers(module, record, operators=operators, final_values=final_values)
