"""Runs a file of fxbin in ONNX Runtime and returns the outputs of its convolutions as well."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxbin.engine.custom_ops import register_custom_ops
from fxbin.errors import EngineError, VerificationError
from fxbin.export.file_record import read_record
from fxbin.lowering.inputs import BoundInputs
from fxbin.verification.samples import to_array

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's option for the folder of external weights, for a model that is passed as bytes."""

LAYERS_ARE_FUSED = (
    'it was written with operators="fxbin" (fxbin export --operators fxbin), whose convolutions take '
    "BatchNorms, sums and activations in, so single layers cannot be compared; leave layers out"
)


def form_of(path: Path) -> str:
    """Return which operators the file at `path` has, and whether ONNX Runtime runs them in 1 bit."""
    record = read_record(path)
    if record is None:
        return ""
    if record.operators == "fxbin":
        return "fxbin's operators, in 1 bit" if record.calls else "fxbin's operators"
    return f"{'OpenVINO' if record.operators == 'openvino' else 'standard'} operators, in float"


def run_in_onnxruntime(
    path: Path, samples: Sequence[BoundInputs], layers: Sequence[str]
) -> "tuple[list[str], list[list[NDArray[Any]]]]":
    """Run the file at `path`; return names of its outputs, and for each sample outputs and `layers`.

    A file with ``operators="fxbin"`` runs in 1 bit. Raises VerificationError if the file lacks one of the
    layers, ONNX Runtime does not run it, or the engine cannot be built.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    refusals = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf)
    providers = ["CPUExecutionProvider"]
    try:
        options = onnxruntime.SessionOptions()
        record = read_record(path)
        if record is not None and record.operators == "fxbin":
            if layers:
                raise VerificationError(f"{path}: {LAYERS_ARE_FUSED}")
            register_custom_ops(options)
        session = onnxruntime.InferenceSession(path, options, providers=providers)
        names = [output.name for output in session.get_outputs()]
        asked: list[str] = []
        if layers:
            proto, asked = _returning(path, layers)
            options = onnxruntime.SessionOptions()
            options.add_session_config_entry(WEIGHTS_FOLDER, str(path.resolve().parent))
            session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=providers)
        taken = [value.name for value in session.get_inputs()]
        found = [session.run([*names, *asked], named_inputs(sample, taken)) for sample in samples]
    except (*refusals, errors.NotImplemented, errors.RuntimeException, EngineError) as error:
        raise VerificationError(f"{path}: {error}") from error
    return names, found


def named_inputs(sample: BoundInputs, taken: Sequence[str]) -> "dict[str, NDArray[Any]]":
    """Return arrays of `sample` for the input names `taken` of the file, by position if names differ."""
    names = sample.names if {*taken} <= {*sample.names} else taken
    if len(names) != len(sample.names):
        given = f"{len(taken)} tensors ({', '.join(taken)}), got {len(sample.names)}"
        raise VerificationError(f"the file takes {given}")
    named = dict(zip(names, map(to_array, sample.tensors), strict=True))
    return {name: named[name] for name in taken}


def _returning(path: Path, layers: Sequence[str]) -> tuple["onnx.ModelProto", list[str]]:
    """Load the file and add the outputs of `layers` to its outputs; return it and the names of these values.

    External weights are not loaded, as they may exceed the size limit of one protobuf message.
    """
    import onnx

    proto = onnx.load(path, load_external_data=False)
    found: dict[str, str] = {}
    for node in proto.graph.node:
        layer = node.name.rpartition("/")[0]
        # Behind a convolution, `fxbin.export.lower` may multiply and add.
        if node.op_type == "Conv" or (layer in found and node.op_type in ("Mul", "Add")):
            found[layer] = node.output[0]
    missing = [layer for layer in layers if layer not in found]
    if missing:
        raise VerificationError(f"{path}: {missing[0]} is not in the file")
    asked = [found[layer] for layer in layers]
    new = set(asked) - {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(value) for value in sorted(new))
    return proto, asked
