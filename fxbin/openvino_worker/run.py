"""The job that runs a file, and single layers of it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxbin.openvino_worker.cut_layer import cut_layer
from fxbin.openvino_worker.job import Arrays, Result, StartStep
from fxbin.openvino_worker.layer_types import convolution_kind, layer_types
from fxbin.openvino_worker.model_inputs import fix_shapes, input_names


def run(job: Mapping[str, Any], arrays: Arrays, start_step: StartStep) -> Result:
    """Run a file on samples, and single layers of it on their own inputs.

    job: ``model``, ``properties``, ``samples`` (for each a map from input names to array keys) and
    ``layers`` (each with ``name``, ``inputs``, array keys, and ``behind``, see `cut_layer`).
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(job["model"])
    samples = [[arrays[sample[name]] for name in input_names(model, sample)] for sample in job["samples"]]
    fix_shapes(model, [list(x.shape) for x in samples[0]])
    start_step(f"compiling {job['model']}")
    compiled = core.compile_model(model, "CPU", job["properties"])
    outputs: dict[str, NDArray[Any]] = {}
    for index, sample in enumerate(samples):
        start_step(f"running {job['model']}")
        found = compiled(sample)
        outputs |= {f"sample {index} {port}": np.array(found[port]) for port in range(len(compiled.outputs))}
    layers = []
    for layer in job["layers"]:
        shape = list(arrays[layer["inputs"][0]].shape)
        part = cut_layer(model, layer["name"], shape, layer["behind"])
        if part is None:
            layers.append({"name": layer["name"], "runs_as": None})
            continue
        start_step(f"compiling and running {layer['name']}")
        alone = core.compile_model(part, "CPU", job["properties"])
        for key in layer["inputs"]:
            outputs[key] = np.array(alone([arrays[key]])[0])
        layers.append({"name": layer["name"], "runs_as": convolution_kind(alone)})
    return {
        "runtime": openvino.get_version(),
        "device": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "operators": Counter(layer_types(compiled)),
        "outputs": [next(iter(port.names), "") for port in compiled.outputs],
        "layers": layers,
    }, outputs
