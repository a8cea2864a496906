"""The export, step by step."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import fx

from fxbin.errors import ExportError
from fxbin.export.capture import capture_onnx
from fxbin.export.inputs import BoundInputs
from fxbin.export.plan import lower, prepare
from fxbin.export.report import ExportReport, SiteExport, WeightStorage
from fxbin.output_path import check_output_path
from fxbin.packages import require

DEFAULT_OPSET = 18
OPSETS = range(18, 26)
"""18 is the lowest that PyTorch's exporter writes itself; up to 25 was tested."""


def export_onnx(
    model: fx.GraphModule,
    path: str | os.PathLike[str],
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    opset: int = DEFAULT_OPSET,
    dynamic_batch: bool = False,
    weights: WeightStorage = "packed",
    external_data: bool | None = None,
) -> ExportReport:
    """Write `model`, as it computes in eval mode, to one ONNX file for onnxruntime and OpenVINO.

    `model` itself, its mode and its device stay as they are. The file is replaced in one step, when all
    went well.

    Args:
        model: a transformed model. Stages are exported as they are: what is disabled is in full precision.
        path: the .onnx file to write; its folder must exist.
        example_inputs: positional inputs, for their shapes; by default from `input_info` of the config.
        example_kwargs: the same by name.
        opset: version of the ONNX operators, 18 to 25.
        dynamic_batch: leave axis 0 of all inputs open. onnxruntime runs such a file; OpenVINO compiles
            1-bit convolutions only after `ov.Model.reshape` to a fixed shape.
        weights: "packed" stores binarized weights as one bit each, "float" as float32.
        external_data: put the weights into a second file beside it, ``model.onnx.data``, as ONNX has it
            for what is too large for one file. By default where that is so: above 2 GB.

    Returns:
        What became of each call site, and why.

    Raises:
        ExportError: a package is missing, an argument is wrong, the inputs do not fit, something is in
            bfloat16, or PyTorch's exporter cannot follow the model.

    Warns:
        UserWarning: a selected call site is not fully binarized at this stage.
    """
    path = Path(path)
    _check_arguments(path, opset, weights, dynamic_batch, external_data)
    if not isinstance(model, fx.GraphModule):
        raise ExportError(f"model: expected what fxbin.transform returns, got {type(model).__name__}")
    # Only now: it needs the packages that have just been looked for.
    from fxbin.export.finish import finish
    from fxbin.export.write_model import write_model

    module, inputs = prepare(model, example_inputs, example_kwargs)
    _refuse_bfloat16(module, inputs)
    sites = lower(module, inputs)
    proto, scopes = capture_onnx(module, inputs, opset=opset, dynamic_batch=dynamic_batch)
    finish(proto, scopes, opset, weights)
    size = write_model(proto, path, external_data)
    _warn_if_not_binarized(sites)
    return ExportReport(path, opset, weights, size, sites)


def _check_arguments(path: Path, opset: Any, weights: Any, dynamic_batch: Any, external_data: Any) -> None:
    require("onnx", "onnxscript", extra="onnx")
    if not isinstance(opset, int) or opset not in OPSETS:
        raise ExportError(f"opset: expected {OPSETS.start} to {OPSETS.stop - 1}, got {opset!r}")
    if weights not in get_args(WeightStorage):
        raise ExportError(f'weights: expected "packed" or "float", got {weights!r}')
    if not isinstance(dynamic_batch, bool):
        raise ExportError(f"dynamic_batch: expected True or False, got {dynamic_batch!r}")
    if not isinstance(external_data, bool | None):
        raise ExportError(f"external_data: expected True, False or None, got {external_data!r}")
    check_output_path(path, ".onnx")


def _refuse_bfloat16(module: fx.GraphModule, inputs: BoundInputs) -> None:
    """ONNX has no convolution in bfloat16 up to opset 21, and onnxruntime none on CPUs at all."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    tensors |= {f"input {name!r}": x for name, x in zip(inputs.names, inputs.tensors, strict=True)}
    found = [name for name, tensor in tensors.items() if tensor.dtype == torch.bfloat16]
    if found:
        raise ExportError(
            f"model: {found[0]} is in bfloat16, in which onnxruntime has no convolution; export a copy in "
            "float32, with inputs in float32: copy.deepcopy(model).float()"
        )


def _warn_if_not_binarized(sites: tuple[SiteExport, ...]) -> None:
    names = [site.name for site in sites if not site.enabled]
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        warnings.warn(
            f"{len(names)} of {len(sites)} selected call sites are not fully binarized at this stage "
            f"({shown}) and are exported so. Train through the stages first, or call "
            "model.binarization.enable(activations=True, weights=True).",
            stacklevel=3,
        )
