"""The job that converts a file to OpenVINO's own format."""

from collections.abc import Mapping
from typing import Any

from fxbin.openvino_worker.int8 import to_int8
from fxbin.openvino_worker.job import Arrays, MisfitError, Result, StartStep
from fxbin.openvino_worker.layer_types import ONE_BIT, layer_types
from fxbin.openvino_worker.merge_scales import merge_scales
from fxbin.openvino_worker.model_inputs import fix_shapes

F32 = {"INFERENCE_PRECISION_HINT": "f32"}
"""Properties for float32."""


def convert(job: Mapping[str, Any], arrays: Arrays, start_step: StartStep) -> Result:
    """Convert a file to OpenVINO's own format, and layers that are not in 1 bit to int8 if there are samples.

    job: ``model``, ``output``, ``shapes`` (or null) and ``calibration`` (for each sample the array keys).
    """
    import openvino

    # Unlike read_model alone, convert_model folds the weights of 1-bit convolutions to 1-bit constants.
    core = openvino.Core()
    start_step(f"converting {job['model']}")
    model = (openvino.convert_model if job["model"].endswith(".onnx") else core.read_model)(job["model"])
    if job["shapes"] is not None:
        fix_shapes(model, job["shapes"])
    samples = [[arrays[key] for key in sample] for sample in job["calibration"]]
    one_bit = None
    if samples:
        start_step(f"compiling {job['model']}")
        compiled = core.compile_model(model, "CPU", F32)
        one_bit = layer_types(compiled).count(ONE_BIT)
        model = to_int8(model, samples, start_step)
    merge_scales(model)
    openvino.save_model(model, job["output"], compress_to_fp16=False)
    if samples:
        # Run once here, so that a file OpenVINO cannot run is never delivered.
        start_step(f"compiling {job['model']} in int8")
        compiled = core.compile_model(job["output"], "CPU", F32)
        compiled(samples[0])
        found = layer_types(compiled).count(ONE_BIT)
        if found != one_bit:
            raise MisfitError(f"with int8, {found} convolutions run in 1 bit, and {one_bit} without")
    return {}, {}
