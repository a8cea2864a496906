"""The job that times several files."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from fxbin.openvino_worker.job import Arrays, Result, StartStep, give_turn
from fxbin.openvino_worker.layer_types import layer_types
from fxbin.openvino_worker.model_inputs import fix_shapes, input_names


def benchmark(job: Mapping[str, Any], arrays: Arrays, start_step: StartStep) -> Result:
    """Time several files in turns.

    job: ``models`` (paths), ``inputs`` (a map from names to array keys), ``properties``, ``rounds``,
    ``repeat`` and ``clock`` (``"cpu"`` or ``"wall"``). In each round the process that started this one has
    its turn; then each file runs once untimed, to fill the caches again, and then `repeat` times.
    """
    import openvino

    core = openvino.Core()
    clock = time.process_time if job["clock"] == "cpu" else time.perf_counter
    requests, operators = [], []
    for path in job["models"]:
        model = core.read_model(path)
        sample = [arrays[job["inputs"][name]] for name in input_names(model, job["inputs"])]
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
        give_turn()
        start_step("one round of all files")
        for request, measured in zip(requests, seconds, strict=True):
            request.infer()
            for _ in range(job["repeat"]):
                start = clock()
                request.infer()
                measured.append(clock() - start)
    return {
        "runtime": openvino.get_version(),
        "seconds": seconds,
        "operators": operators,
    }, {}
