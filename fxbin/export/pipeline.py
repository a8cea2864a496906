"""The export, step by step."""

import copy
import os
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import fx, nn

from fxbin.errors import ExportError
from fxbin.example_inputs import example_inputs as inputs_from_config
from fxbin.export.capture import capture_onnx
from fxbin.export.circular_padding import spell_out_circular_padding
from fxbin.export.hoist_padding import hoist_padding
from fxbin.export.inputs import BoundInputs, bind_inputs
from fxbin.export.lower import lower_binarizers
from fxbin.export.record import record_run
from fxbin.export.report import ExportReport, SiteExport, WeightStorage

if TYPE_CHECKING:
    import onnx

DEFAULT_OPSET = 18
OPSETS = range(18, 26)
"""18 is the lowest that PyTorch's exporter writes itself; up to 25 was tested."""

MAX_FILE_SIZE = 2**31 - 1
"""Protobuf's limit for one message, which is one file."""


def export_onnx(
    model: fx.GraphModule,
    path: str | os.PathLike[str],
    example_inputs: tuple[Any, ...] | None = None,
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    opset: int = DEFAULT_OPSET,
    dynamic_batch: bool = False,
    weights: WeightStorage = "packed",
) -> ExportReport:
    """Write `model`, as it computes in eval mode, to one ONNX file for onnxruntime and OpenVINO.

    `model` itself, its mode and its device stay as they are. The file is replaced in one step, when all
    went well.

    Args:
        model: a transformed model. Stages are exported as they are: what is disabled is in full precision.
        path: file to write; its folder must exist.
        example_inputs: positional inputs, for their shapes; by default from `input_info` of the config.
        example_kwargs: the same by name.
        opset: version of the ONNX operators, 18 to 25.
        dynamic_batch: leave axis 0 of all inputs open. onnxruntime runs such a file; OpenVINO compiles
            1-bit convolutions only after `ov.Model.reshape` to a fixed shape.
        weights: "packed" stores binarized weights as one bit each, "float" as float32.

    Returns:
        What became of each call site, and why.

    Raises:
        ExportError: a package is missing, an argument is wrong, the inputs do not fit, or PyTorch's
            exporter cannot follow the model.

    Warns:
        UserWarning: a selected call site is not fully binarized at this stage.
    """
    path = Path(path)
    _check_arguments(path, opset, weights)
    # Only now: it needs the packages that have just been looked for.
    from fxbin.export.finish import finish

    module = copy.deepcopy(model).eval()
    inputs = _inputs(model, module, example_inputs, example_kwargs)
    hoist_padding(module)
    spell_out_circular_padding(module)
    with torch.no_grad():
        sites = lower_binarizers(module, record_run(module, inputs.values))
    proto, scopes = capture_onnx(module, inputs, opset=opset, dynamic_batch=dynamic_batch)
    finish(proto, scopes, opset, weights)
    _check_and_write(proto, path)
    _warn_if_not_binarized(sites)
    return ExportReport(path, opset, weights, path.stat().st_size, sites)


def _check_arguments(path: Path, opset: int, weights: str) -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ExportError(f'{" and ".join(missing)} not found: pip install "fxbin[onnx]"')
    if opset not in OPSETS:
        raise ExportError(f"opset: expected {OPSETS.start} to {OPSETS.stop - 1}, got {opset!r}")
    if weights not in get_args(WeightStorage):
        raise ExportError(f'weights: expected "packed" or "float", got {weights!r}')
    if not path.parent.is_dir():
        raise ExportError(f"path: the folder {str(path.parent)!r} does not exist; create it first")
    if path.is_dir():
        raise ExportError(f"path: {str(path)!r} is a folder; give the name of a file, such as model.onnx")


def _inputs(
    model: fx.GraphModule,
    module: fx.GraphModule,
    args: tuple[Any, ...] | None,
    kwargs: Mapping[str, Any] | None,
) -> BoundInputs:
    """Example inputs for the copy `module` of `model`, on its device."""
    if args is None and kwargs is None:
        state = getattr(model, "binarization", None)
        if state is None:
            raise ExportError("example_inputs: give them, as this model carries no config with input_info")
        args, kwargs = inputs_from_config(state.config)
    if args is not None and not isinstance(args, tuple):
        raise ExportError(
            f"example_inputs: expected a tuple of positional inputs, got {type(args).__name__}; write (x,)"
        )
    bound = bind_inputs(module.graph, args or (), kwargs or {})
    device = _device(module)
    return BoundInputs(bound.with_tensors([x.to(device) for x in bound.tensors]), bound.names)


def _device(module: nn.Module) -> torch.device:
    tensor = next(iter((*module.parameters(), *module.buffers())), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _check_and_write(proto: "onnx.ModelProto", path: Path) -> None:
    import onnx

    if proto.ByteSize() > MAX_FILE_SIZE:
        raise ExportError(
            f"the model has {proto.ByteSize() / 1e9:.1f} GB, and one ONNX file holds 2 GB at most. "
            'weights="packed" makes the binarized part 32 times smaller.'
        )
    onnx.checker.check_model(proto, full_check=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(proto.SerializeToString())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
