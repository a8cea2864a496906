"""The export, step by step."""

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
from fxbin.export.inputs import BoundInputs
from fxbin.export.output_path import check_output_path
from fxbin.export.packages import require
from fxbin.export.plan import lower, prepare
from fxbin.export.report import ExportReport, Operators, WeightStorage
from fxbin.export.untrained import warn_if_untrained

DEFAULT_OPSET = 18
OPSETS = range(18, 26)
"""18 is the lowest that PyTorch's exporter writes itself; up to 25 was tested."""


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
) -> ExportReport:
    """Write `model`, as it computes in eval mode, to one ONNX file for onnxruntime and OpenVINO.

    `model` itself, its mode and its device stay as they are. The file is replaced in one step, when all
    went well.

    Args:
        model: a transformed model, which DistributedDataParallel, torch.compile, AveragedModel or Lightning
            Fabric may have wrapped. Stages are exported as they are: what is disabled is in full precision.
        path: the .onnx file to write; its folder must exist.
        example_inputs: positional inputs, for their shapes; by default from `input_info` of the config.
        example_kwargs: the same by name.
        input_names: what the file calls its inputs; by default as `forward` does.
        output_names: what the file calls its outputs; by default by the keys of the dict that `forward`
            returns, or ``output``, ``output_1``, ...
        opset: version of the ONNX operators, 18 to 25.
        dynamic_batch: leave axis 0 of all inputs open. onnxruntime runs such a file; OpenVINO compiles
            1-bit convolutions only after `ov.Model.reshape` to a fixed shape.
        operators: "openvino" writes what OpenVINO runs in 1 bit, with a definition for onnxruntime.
            "standard" writes standard ONNX operators alone, for tools that know no others and no functions
            in a file; every runtime computes in float then.
        weights: "packed" stores binarized weights as one bit each, "float" as float32.
        external_data: put the weights into a second file beside it, ``model.onnx.data``, as ONNX has it
            for what is too large for one file. By default where that is so: above 2 GB.

    Returns:
        What became of each call site, and why.

    Raises:
        TransformError: `model` does not come from `fxbin.transform`.
        ExportError: a package is missing, an argument is wrong, the inputs do not fit, something is in
            bfloat16, or PyTorch's exporter cannot follow the model.

    Warns:
        UserWarning: a selected call site is not fully binarized at this stage, or its activation scale has
            not seen a training batch.
    """
    path = _checked_order(model, path)
    _check_arguments(path, opset, operators, weights, dynamic_batch, external_data)
    binarized = transformed(model, "export_onnx")
    # Only now: it needs the packages that have just been looked for.
    from fxbin.export.finish import finish
    from fxbin.export.write_model import write_model

    module, inputs = prepare(binarized, example_inputs, example_kwargs)
    _refuse_bfloat16(module, inputs)
    names = FileNames.of(module.graph, inputs, input_names, output_names)
    sites = lower(module, inputs, operators=operators)
    proto, scopes = capture_onnx(module, inputs, opset=opset, dynamic_batch=dynamic_batch)
    finish(proto, scopes, names, opset=opset, operators=operators, weights=weights)
    size = write_model(proto, path, external_data)
    warn_if_untrained(binarized.binarization, sites)
    return ExportReport(path, opset, operators, weights, size, sites)


def _checked_order(model: Any, path: Any) -> Path:
    """`path`; ExportError if what is given for it is none, or `model` is one."""
    if isinstance(model, str | os.PathLike):
        raise ExportError(
            f"model: got the path {os.fspath(model)!r}; the model comes first: export_onnx(model, path)"
        )
    if not isinstance(path, str | os.PathLike):
        raise ExportError(f"path: expected a name such as 'model.onnx', got {type(path).__name__}")
    return Path(path)


def _check_arguments(
    path: Path, opset: Any, operators: Any, weights: Any, dynamic_batch: Any, external_data: Any
) -> None:
    require("onnx", "onnxscript", extra="onnx")
    if not isinstance(opset, int) or opset not in OPSETS:
        raise ExportError(f"opset: expected {OPSETS.start} to {OPSETS.stop - 1}, got {opset!r}")
    if operators not in get_args(Operators):
        raise ExportError(f'operators: expected "openvino" or "standard", got {operators!r}')
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
