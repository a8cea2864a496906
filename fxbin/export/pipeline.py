"""`fxbin.export_onnx`, and its steps in order."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import fx, nn

from fxbin.binarized.unwrap import transformed
from fxbin.errors import ExportError
from fxbin.export.capture import capture_onnx
from fxbin.export.file_names import FileNames
from fxbin.export.output_path import check_output_path, checked_order
from fxbin.export.packages import require
from fxbin.export.plan import lower
from fxbin.export.report import ExportMode, ExportReport, Operators, WeightStorage
from fxbin.lowering.inputs import BoundInputs, with_batches
from fxbin.lowering.plain_outputs import return_plain_containers
from fxbin.lowering.prepare import prepare
from fxbin.lowering.untrained import warn_if_untrained

DEFAULT_OPSET = 18
OPSETS = range(18, 26)
"""Supported opsets: 18 is the lowest that PyTorch's exporter writes itself; up to 25 is tested."""


def export_onnx(
    model: nn.Module,
    path: str | os.PathLike[str],
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset: int = DEFAULT_OPSET,
    dynamic_batch: bool = False,
    operators: Operators = "openvino",
    weights: WeightStorage = "packed",
    external_data: bool | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ExportReport:
    """Write `model` in eval mode to one ONNX file for onnxruntime and OpenVINO.

    `model` itself, its mode and its device do not change. The file contains its forward hooks, also those on
    the model itself. An existing file is replaced in one step, if the export succeeds.

    Args:
        model: a transformed model, also inside DistributedDataParallel, torch.compile, AveragedModel or
            Lightning Fabric. It is exported in its current stage: disabled binarizers are left out.
        path: the .onnx file to write; its folder must exist.
        example_inputs: positional inputs, for their shapes; by default from `input_info` of the config.
        example_kwargs: keyword inputs, likewise.
        input_names: names of the inputs of the file; by default those of the parameters of `forward`.
        output_names: names of the outputs of the file; by default the keys of the dict that `forward`
            returns, also of a class derived from dict, or ``output``, ``output_1``, ...
        opset: version of the ONNX operators, 18 to 25.
        dynamic_batch: whether axis 0 of all inputs is dynamic. onnxruntime runs such a file; OpenVINO
            compiles 1-bit convolutions only after `ov.Model.reshape` to a fixed shape.
        operators: "openvino" writes operators that OpenVINO runs in 1 bit, with a definition for onnxruntime.
            "fxbin" writes operators that onnxruntime runs in 1 bit if `fxbin.register_custom_ops` has
            registered them: one for each binarized call site, with BatchNorm, sum and activation after it.
            Other runtimes that support functions in a file run their definition; OpenVINO does not.
            "standard" writes only standard ONNX operators, for tools that support neither other operators nor
            functions in a file; every runtime then computes in float.
        weights: "packed" stores binarized weights as one bit each, "float" as float32.
        external_data: whether to write the weights to a second file beside it, ``model.onnx.data``, as ONNX
            defines; by default only if one file would be larger than 2 GB.
        metadata: entries for the metadata of the file (ONNX's `metadata_props`), such as names of classes.

    Returns:
        How each call site was exported, and why.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ExportError: a package is missing, an argument is wrong, the inputs do not fit, something is in
            bfloat16, there are hooks for all modules, PyTorch's exporter cannot export the model, or `path`
            cannot be written.

    Warns:
        UserWarning: a selected call site is not fully binarized at this stage, or no training batch has
            initialized its activation scale.
    """
    path = checked_order(model, path, "export_onnx", ".onnx")
    _check_arguments(path, opset, operators, weights, dynamic_batch, external_data)
    binarized = transformed(model, "export_onnx")
    # Imported here because they need packages whose presence has just been checked.
    from fxbin.export.finish import finish
    from fxbin.export.write_model import write_model

    module, inputs = prepare(binarized, example_inputs, example_kwargs)
    _refuse_bfloat16(module, inputs)
    return_plain_containers(module)
    names = FileNames.of(module.graph, inputs, input_names, output_names)
    sites = lower(module, with_batches(inputs) if dynamic_batch else inputs, operators=operators)
    proto, scopes = capture_onnx(module, inputs, opset=opset, dynamic_batch=dynamic_batch)
    finish(proto, scopes, names, opset=opset, operators=operators, weights=weights)
    for key, value in (metadata or {}).items():
        proto.metadata_props.add(key=key, value=value)
    size = write_model(proto, path, external_data)
    used = [site.name for site in sites if site.mode is not ExportMode.LEFT_OUT]
    warn_if_untrained(binarized.binarization, [site.name for site in sites], used, "exported")
    return ExportReport(path, opset, operators, weights, size, sites)


def _check_arguments(
    path: Path, opset: Any, operators: Any, weights: Any, dynamic_batch: Any, external_data: Any
) -> None:
    require("onnx", "onnxscript", extra="onnx")
    if not isinstance(opset, int) or opset not in OPSETS:
        raise ExportError(f"opset: expected {OPSETS.start} to {OPSETS.stop - 1}, got {opset!r}")
    if operators not in get_args(Operators):
        raise ExportError(f'operators: expected "openvino", "fxbin" or "standard", got {operators!r}')
    if weights not in get_args(WeightStorage):
        raise ExportError(f'weights: expected "packed" or "float", got {weights!r}')
    if operators == "fxbin" and weights == "float":
        raise ExportError(
            'weights: got "float", but the operators of operators="fxbin" read bits; leave weights out, or '
            'give operators="standard"'
        )
    if not isinstance(dynamic_batch, bool):
        raise ExportError(f"dynamic_batch: expected True or False, got {dynamic_batch!r}")
    if not isinstance(external_data, bool | None):
        raise ExportError(f"external_data: expected True, False or None, got {external_data!r}")
    check_output_path(path, ".onnx")


def _refuse_bfloat16(module: fx.GraphModule, inputs: BoundInputs) -> None:
    """Raise ExportError for bfloat16, which no convolution of ONNX up to opset 21 supports."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    tensors |= {f"input {name!r}": x for name, x in zip(inputs.names, inputs.tensors, strict=True)}
    found = [name for name, tensor in tensors.items() if tensor.dtype == torch.bfloat16]
    if found:
        raise ExportError(
            f"model: {found[0]} is in bfloat16, in which onnxruntime has no convolution; export a copy in "
            "float32, with inputs in float32: copy.deepcopy(model).float()"
        )
