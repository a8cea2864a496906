"""Times the forms of a model in OpenVINO."""

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fxbin.binarized.module import BinarizedModule
from fxbin.export import ExportMode, export_onnx
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.prepare import prepare
from fxbin.lowering.untrained import untrained_is_fine
from fxbin.openvino.cache import CacheDir, cache_properties
from fxbin.openvino.process import run_in_process
from fxbin.openvino.save import convert
from fxbin.openvino.verify_report import ONE_BIT_KIND
from fxbin.report.benchmark import Timing
from fxbin.report.turns import Turns
from fxbin.verification.samples import named_arrays, to_array

CALIBRATION_SAMPLES = 8
"""Number of random calibration samples: they affect the ranges of int8 layers, but not their speed."""


@dataclass(frozen=True)
class Form:
    """One form of a model, as a file."""

    name: str
    """``"float32"``, ``"int8"``, ``"1 bit"`` or ``"1 bit, int8"``."""

    file: Path
    """In OpenVINO's own format."""

    promised: int
    """Number of convolutions that the export has written in 1 bit."""

    @property
    def size(self) -> int:
        """Bytes of the .xml file and its .bin file together."""
        return self.file.stat().st_size + self.file.with_suffix(".bin").stat().st_size

    def timing(self, seconds: list[float], operators: dict[str, int]) -> Timing:
        """Return the times of this form, with the operators that OpenVINO runs."""
        one_bit = operators.get(ONE_BIT_KIND, 0)
        return Timing("openvino", self.name, tuple(seconds), self.size, self.promised, one_bit, operators)


def time_in_openvino(
    model: BinarizedModule,
    example_inputs: tuple[Any, ...] | None,
    sample: BoundInputs,
    turns: Turns,
    *,
    int8: bool,
    precision: str,
    cache_dir: CacheDir,
    time_limit: float,
    take_turn: Callable[[], None],
) -> tuple[str, list[Timing]]:
    """Time `model` on `sample` in float32, int8, 1 bit, and 1 bit with the rest in int8.

    Returns the version of OpenVINO and the timings. `take_turn` is called before each round. For the other
    arguments see `fxbin.benchmark`. Raises ExportError.
    """
    properties = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": str(turns.threads)}
    properties |= cache_properties(cache_dir)
    settings = {
        "rounds": turns.rounds,
        "repeat": turns.repeat,
        "clock": turns.clock,
        "properties": properties,
    }
    keys, arrays = named_arrays([sample])
    with tempfile.TemporaryDirectory(prefix="fxbin-benchmark-") as name:
        forms = list(_written(model, Path(name), example_inputs, int8, time_limit))
        job = {"models": [str(form.file) for form in forms], "inputs": keys[0], **settings}
        result, _ = run_in_process("benchmark", job, arrays, time_limit, take_turn)
        rows = zip(forms, result["seconds"], result["operators"], strict=True)
        timings = [form.timing(seconds, operators) for form, seconds, operators in rows]
    return result["runtime"], timings


def _written(
    model: BinarizedModule,
    folder: Path,
    example_inputs: tuple[Any, ...] | None,
    int8: bool,
    time_limit: float,
) -> Iterator[Form]:
    """Write each form of `model` into `folder`."""
    model = copy.deepcopy(model)
    for name, name8, enabled in (("float32", "int8", False), ("1 bit", "1 bit, int8", True)):
        model.binarization.enable(activations=enabled, weights=enabled)
        onnx_file = folder / f"{name}.onnx"
        with untrained_is_fine():
            promised = export_onnx(model, onnx_file, example_inputs).count(ExportMode.ONE_BIT)
        file = folder / f"{name}.xml"
        convert(onnx_file, file, [], (), time_limit)
        yield Form(name, file, promised)
        if int8:
            file = folder / f"{name8}.xml"
            convert(onnx_file, file, list(_calibration(model, example_inputs)), (), time_limit)
            yield Form(name8, file, promised)


def _calibration(model: BinarizedModule, example_inputs: tuple[Any, ...] | None) -> Iterator[list[Any]]:
    """Yield random samples in the shapes of the example inputs; inputs that are not floats stay the same."""
    _, example = prepare(model, example_inputs, None)
    generator = torch.Generator().manual_seed(0)
    for _ in range(CALIBRATION_SAMPLES):
        yield [
            to_array(torch.randn(x.shape, generator=generator) if x.is_floating_point() else x)
            for x in example.tensors
        ]
