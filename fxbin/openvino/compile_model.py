"""A binarized model, compiled by OpenVINO for this CPU."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fxbin.errors import ExportError
from fxbin.export.packages import require
from fxbin.openvino.cache import CacheDir, cache_properties
from fxbin.openvino.process import essence
from fxbin.openvino.source import Source, as_file
from fxbin.verification.samples import tensors_of

if TYPE_CHECKING:
    import openvino


def compile(  # noqa: A001 (as a member of fxbin.openvino, it shadows nothing)
    source: Source,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    precision: str = "f32",
    threads: int | None = None,
    cache_dir: CacheDir = None,
    properties: Mapping[str, Any] | None = None,
) -> "openvino.CompiledModel":
    """Compile a model or a file for OpenVINO's CPU plugin, with fixed shapes.

    Args:
        source: a transformed model, in its present stage, or the path of an .onnx or .xml file.
        example_inputs: positional inputs, for their shapes. By default those of `input_info` for a
            model, those in the file for a file; a file with open shapes needs them.
        precision: OpenVINO's hint. Its own default on CPUs that have it is ``"bf16"``, which is faster
            and moves values across thresholds; ``"f32"`` gives PyTorch's numbers.
        threads: how many; by default as many as OpenVINO likes.
        cache_dir: a folder in which OpenVINO keeps what it compiles, and finds it the next time.
        properties: further ones of OpenVINO; they win over those above.

    Returns:
        What ``openvino.Core().compile_model`` returns: call it with numpy arrays.

    Raises:
        ExportError: OpenVINO is not installed or refuses the file, the shapes are open, or the model
            cannot be exported.
    """
    require("openvino", extra="openvino")
    import openvino

    options = {"INFERENCE_PRECISION_HINT": precision} | cache_properties(cache_dir)
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = str(threads)
    core = openvino.Core()
    with as_file(source, example_inputs) as path:
        try:
            model = core.read_model(path)
            _fix_shapes(model, example_inputs)
            return core.compile_model(model, "CPU", options | dict(properties or {}))
        except RuntimeError as error:
            raise ExportError(f"OpenVINO: {essence(str(error))}") from error


def _fix_shapes(model: "openvino.Model", example_inputs: tuple[Any, ...] | None) -> None:
    if not model.is_dynamic():
        return
    shapes = [list(x.shape) for x in tensors_of(example_inputs)]
    if len(shapes) != len(model.inputs):
        given = ", ".join(f"{port.any_name} {port.partial_shape}" for port in model.inputs)
        raise ExportError(
            f"example_inputs: the file leaves shapes open ({given}), and OpenVINO runs 1-bit convolutions "
            f"for fixed ones only; give {len(model.inputs)} tensors of the shapes to compile for"
        )
    model.reshape(dict(zip(model.inputs, shapes, strict=True)))
