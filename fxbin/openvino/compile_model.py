"""Compiles a binarized model with OpenVINO for this CPU."""

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
        source: a transformed model, in its current stage, or the path of an .onnx or .xml file.
        example_inputs: positional inputs; only their shapes matter. By default those of `input_info` for a
            model, and those in the file for a file; a file with dynamic shapes needs them.
        precision: OpenVINO's precision hint. Its own default on CPUs with bfloat16 is ``"bf16"``, which is
            faster but rounds values across thresholds; ``"f32"`` gives PyTorch's numbers.
        threads: number of threads; by default OpenVINO decides.
        cache_dir: a folder in which OpenVINO caches compiled models.
        properties: further properties of OpenVINO; they override those above.

    Returns:
        The result of ``openvino.Core().compile_model``: call it with numpy arrays.

    Raises:
        ExportError: OpenVINO is not installed or refuses the file, shapes are dynamic, or the model cannot be
            exported.
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
    """Give the inputs of a `model` with dynamic shapes those of `example_inputs`, in order."""
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
