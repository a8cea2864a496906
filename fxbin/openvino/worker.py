"""What runs OpenVINO in a process of its own, see `fxbin.openvino.process`.

Started by its path, so that nothing of fxbin or PyTorch is loaded. A folder holds the job:

    job.json, inputs.npz  ->  result.json, outputs.npz

Each job names its steps as it comes to them, and a step may take `time_limit` seconds.
"""

import faulthandler
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
WITHOUT_WEIGHTS = {"Add", "AvgPool", "MaxPool", "Multiply", "ReduceMean", "Subtract"}
"""Types of operators that nncf would give int8 inputs, beside convolutions and matrix products."""

ONE_BIT = "BinaryConvolution"
F32 = {"INFERENCE_PRECISION_HINT": "f32"}

BINARIZERS = {"FakeQuantize", "Select"}
"""Types of operators that binarize activations in a file of fxbin: for 1 bit, and plain ones."""

Result = tuple[dict[str, Any], dict[str, NDArray[Any]]]

StartStep = Callable[[str], None]
"""Called with what comes next, from which on the time counts: ``"compiling model.onnx"``."""


class MisfitError(Exception):
    """A job that does not fit its file."""


def run(job: Mapping[str, Any], arrays: Arrays, start_step: StartStep) -> Result:
    """Run a file on samples, and single layers of it on inputs of their own.

    job: ``model``, ``properties``, ``samples`` (for each a map from input names to array keys) and
    ``layers`` (each with ``name`` and ``inputs``, array keys).
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(job["model"])
    samples = [[arrays[sample[name]] for name in _inputs(model, sample)] for sample in job["samples"]]
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
        part = cut_layer(model, layer["name"], list(arrays[layer["inputs"][0]].shape))
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


def convert(job: Mapping[str, Any], arrays: Arrays, start_step: StartStep) -> Result:
    """Convert a file to OpenVINO's own format, its remaining layers to int8 if there is data for that.

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
        # Once, here: what it cannot run must not become anybody's file.
        start_step(f"compiling {job['model']} in int8")
        compiled = core.compile_model(job["output"], "CPU", F32)
        compiled(samples[0])
        found = layer_types(compiled).count(ONE_BIT)
        if found != one_bit:
            raise MisfitError(f"with int8, {found} convolutions run in 1 bit, and {one_bit} without")
    return {}, {}


def to_int8(model: Any, samples: list[list[NDArray[Any]]], start_step: StartStep) -> Any:
    """`model` with int8 layers where it is not in 1 bit, their ranges from `samples`."""
    import nncf

    def named(sample: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        start_step("nncf.quantize")  # once a sample
        return dict(zip(names, sample, strict=True))

    keep_from_concatenations(model)
    names = [port.any_name for port in model.inputs]
    # With names, as nncf takes a list for one input.
    dataset = nncf.Dataset(samples, named)
    return nncf.quantize(model, dataset, subset_size=len(samples), ignored_scope=_ignored(model))


def merge_scales(model: Any) -> None:
    """Multiply once behind each 1-bit convolution, in place, which makes the file smaller.

        before:  (conv * 0.5 + c) * s * a * g      (as OpenVINO converts it, g from a BatchNorm)
        after:   (conv + 2 c) * (0.5 s a g)

    Both sums are exact, as conv and 2 c are whole numbers.
    """
    from openvino import opset1

    for operator in model.get_ordered_ops():
        if operator.get_type_name() != ONE_BIT:
            continue
        chain = list(_constant_operands(operator))
        kinds = [kind for kind, _, _ in chain]
        if kinds[:3] != ["Multiply", "Add", "Multiply"] or abs(np.frexp(chain[0][2])[0]) != 0.5:
            continue
        last = 2 + next((i for i, kind in enumerate(kinds[2:]) if kind != "Multiply"), len(kinds) - 2)
        (_, _, half), (_, _, shift), *factors = chain[:last]
        scale = np.prod(np.broadcast_arrays(half, *(value for _, _, value in factors)), axis=0)
        users = chain[last - 1][1].output(0).get_target_inputs()
        total = opset1.add(operator.output(0), np.float32(shift / half))
        merged = opset1.multiply(total, np.float32(scale))
        merged.set_friendly_name(chain[last - 1][1].get_friendly_name())
        for user in users:
            user.replace_source_output(merged.output(0))


def _constant_operands(operator: Any) -> Iterator[tuple[str, Any, NDArray[np.float64]]]:
    """The operators behind `operator` that combine it with a constant, in a chain: kind and constant, too."""
    while len(users := operator.output(0).get_target_inputs()) == 1:
        (port,) = users
        operator = port.get_node()
        others = [value.get_node() for value in operator.input_values()]
        del others[port.get_index()]
        if [other.get_type_name() for other in others] != ["Constant"]:
            return
        yield operator.get_type_name(), operator, others[0].get_data().astype(np.float64)


def keep_from_concatenations(model: Any) -> None:
    """Put a max pooling over single pixels between each concatenation and a binarizer behind it.

    Where a model has int8 layers, OpenVINO 2026.4.1 moves a FakeQuantize in front of a concatenation.
    With two levels it then crashes.
    """
    from openvino import opset1

    for operator in model.get_ordered_ops():
        if operator.get_type_name() != "FakeQuantize" or operator.get_attributes()["levels"] != 2:
            continue
        source = operator.input_value(0)
        before = source.get_node()
        if before.get_type_name() == "Relu":
            before = before.input_value(0).get_node()
        if before.get_type_name() == "Concat":
            barrier = opset1.max_pool(source, [1, 1], [0, 0], [0, 0], [1, 1], "floor")
            operator.input(0).replace_source_output(barrier.output(0))


def _ignored(model: Any) -> Any:
    """What nncf leaves alone: with 1-bit convolutions, all but layers with weights that are not binarized.

    A sum in int8, say, is no part of the 1-bit convolution in front of it any more, and its operands have
    to be converted: without this, ResNet18 takes 10 % longer. A convolution that is binarized in plain
    operators would get a conversion behind its two levels, which costs MobileNetV2 more than int8 saves.
    """
    import nncf

    operators = model.get_ordered_ops()
    present = {operator.get_type_name() for operator in operators}
    if ONE_BIT not in present:
        return None
    binarized = [operator.get_friendly_name() for operator in operators if _is_after_select(operator)]
    return nncf.IgnoredScope(names=binarized, types=sorted(present & WITHOUT_WEIGHTS))


def _is_after_select(operator: Any) -> bool:
    """Whether this is a convolution whose input plain operators have binarized."""
    if operator.get_type_name() not in {"Convolution", "GroupConvolution"}:
        return False
    return bool(operator.input_value(0).get_node().get_type_name() == "Select")


def benchmark(job: Mapping[str, Any], arrays: Arrays, start_step: StartStep) -> Result:
    """Time several files in turns.

    job: ``models`` (paths), ``inputs`` (a map from names to array keys), ``properties``, ``rounds``,
    ``repeat`` and ``clock`` (``"cpu"`` or ``"wall"``). In each round each file runs once untimed, which
    fills the caches again, and then `repeat` times.
    """
    import openvino

    core = openvino.Core()
    clock = time.process_time if job["clock"] == "cpu" else time.perf_counter
    requests, operators = [], []
    for path in job["models"]:
        model = core.read_model(path)
        sample = [arrays[job["inputs"][name]] for name in _inputs(model, job["inputs"])]
        fix_shapes(model, [list(x.shape) for x in sample])
        start_step(f"compiling {path}")
        compiled = core.compile_model(model, "CPU", job["properties"])
        request = compiled.create_infer_request()
        for index, x in enumerate(sample):
            request.set_input_tensor(index, openvino.Tensor(x))
        requests.append(request)
        operators.append(Counter(layer_types(compiled)))
    seconds: list[list[float]] = [[] for _ in requests]
    for _ in range(job["rounds"]):
        start_step("one round of all files")
        for request, measured in zip(requests, seconds, strict=True):
            request.infer()
            for _ in range(job["repeat"]):
                start = clock()
                request.infer()
                measured.append(clock() - start)
    return {
        "runtime": openvino.get_version(),
        "device": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "seconds": seconds,
        "operators": operators,
    }, {}


def fix_shapes(model: Any, shapes: list[list[int]]) -> None:
    """Give the inputs of `model` these shapes, where it leaves them open."""
    if model.is_dynamic():
        model.reshape(dict(zip(model.inputs, shapes, strict=True)))
    for port, shape in zip(model.inputs, shapes, strict=True):
        if list(port.shape) != shape:
            raise MisfitError(f"the file takes {port.any_name!r} of shape {list(port.shape)}, got {shape}")


def cut_layer(model: Any, name: str, shape: list[int]) -> Any:
    """The convolution `name` of an ONNX file of fxbin, with its binarizers, as a model; None without it."""
    import openvino
    from openvino import opset8

    convolution = next((x for x in model.get_ordered_ops() if _is_convolution_of(x, name)), None)
    if convolution is None:
        return None
    output = convolution
    if convolution.get_friendly_name().endswith("/WithoutBiases"):
        users = [user.get_node() for user in convolution.output(0).get_target_inputs()]
        output = next(user for user in users if user.get_type_name() == "Add")
    source = convolution.input_value(0).get_node().input(0)  # of the binarizer
    if source.get_element_type() == openvino.Type.boolean:  # which is a Select, after a Greater
        source = source.get_source_output().get_node().input(0)
    while list(source.get_shape()) != shape:  # a Pad, which another layer may share
        source = source.get_source_output().get_node().input(0)
    x = opset8.parameter(shape, np.float32)
    source.replace_source_output(x.output(0))
    return openvino.Model([output.output(0)], [x])


def _is_convolution_of(operator: Any, name: str) -> bool:
    # By its input, as one that computes an output of the model has the name of that.
    if operator.get_type_name() != "Convolution":
        return False
    binarizer = operator.input_value(0).get_node()
    return binarizer.get_type_name() in BINARIZERS and binarizer.get_friendly_name().startswith(f"{name}/")


def layer_types(compiled: Any) -> list[str]:
    """What each operator of a compiled model runs as: ``"BinaryConvolution"``."""
    operators = compiled.get_runtime_model().get_ordered_ops()
    return [operator.get_rt_info()["layerType"].astype(str) for operator in operators]


def convolution_kind(compiled: Any) -> str:
    """What the one convolution of a compiled model runs as."""
    return next((kind for kind in layer_types(compiled) if "Convolution" in kind), "no convolution")


def _inputs(model: Any, given: Mapping[str, Any]) -> list[str]:
    """Keys of `given` in the order of the inputs of `model`: by name, or by position if names differ."""
    names = [port.any_name for port in model.inputs]
    return names if set(names) <= set(given) else list(given)


JOBS: dict[str, Callable[[Mapping[str, Any], Arrays, StartStep], Result]] = {
    "run": run,
    "convert": convert,
    "benchmark": benchmark,
}


def main(kind: str, folder: Path) -> None:
    """Do the job of this `kind` that lies in `folder`. What OpenVINO refuses is a result, too."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))

    def start_step(name: str) -> None:
        (folder / "step.txt").write_text(name, encoding="utf-8")
        # Ends the process from a thread of its own that needs nothing of Python's, whatever OpenVINO is in.
        faulthandler.dump_traceback_later(job["time_limit"], exit=True)

    start_step("loading OpenVINO")
    with np.load(folder / "inputs.npz") as arrays:
        try:
            result, outputs = JOBS[kind](job, arrays, start_step)
        except (RuntimeError, MisfitError) as error:
            result, outputs = {"error": str(error)}, {}
    np.savez(folder / "outputs.npz", **outputs)  # type: ignore[arg-type]  # its last option is a keyword, too
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
