"""Compares a model compiled by PyTorch, in ONNX Runtime and in OpenVINO with PyTorch eager."""

import copy
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from numpy.typing import NDArray
from torch import fx, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.errors import ExportError, VerificationError
from fxbin.export import ExportMode, export_onnx
from fxbin.export.file_record import read_record
from fxbin.export.packages import require
from fxbin.export.plan import plan_export
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.prepare import prepare
from fxbin.runtimes.layer_outputs import return_layers
from fxbin.runtimes.onnx_session import run_in_onnxruntime
from fxbin.runtimes.report import Runtime, RuntimeReport, RuntimeResult
from fxbin.verification.compare import check_outputs
from fxbin.verification.model_file import checked_path
from fxbin.verification.reference import outputs_of
from fxbin.verification.samples import Sample, bound_samples, first_sample, to_array
from fxbin.verification.time_limit import TIME_LIMIT, check_time_limit
from fxbin.verification.tolerance import check_tolerance

Outputs = list[list[NDArray[Any]]]
"""The outputs for each sample."""


def compare_runtimes(
    model: nn.Module,
    path: str | os.PathLike[str] | None = None,
    inputs: Sequence[Sample] | None = None,
    *,
    runtimes: Sequence[Runtime] = get_args(Runtime),
    layers: bool = False,
    tolerance: float = 1e-4,
    time_limit: float = TIME_LIMIT,
) -> RuntimeReport:
    """Run `model` in several runtimes and compare with PyTorch eager, in eval mode.

    Differences and refusals of a runtime raise nothing: the report has them. A file in standard operators is
    not expected to run in 1 bit in OpenVINO.

    Args:
        model: a transformed model, in its current stage; its mode does not change.
        path: an ONNX file of it; by default a temporary one is exported.
        inputs: samples, each a tensor or a tuple of positional inputs; by default random numbers and
            zeros of the shapes in `input_info`.
        runtimes: any of ``"compiled"``, which is `torch.compile`, ``"onnxruntime"`` and ``"openvino"``.
        layers: whether to compare each binarized call site as well, and name the first that differs. OpenVINO
            runs each alone, as in `fxbin.openvino.verify`, as it does not fuse layers that are outputs.
        tolerance: as in `fxbin.openvino.verify`, including its exception for values at thresholds.
        time_limit: seconds that OpenVINO may take for a step, as in `fxbin.openvino.verify`.

    Raises:
        ExportError: a runtime is unknown or not installed, or the model cannot be exported.
    """
    check_time_limit(time_limit)
    check_tolerance(tolerance)
    binarized = transformed(model, "compare_runtimes")
    _check_runtimes(runtimes)
    example = first_sample(inputs)
    with tempfile.TemporaryDirectory(prefix="fxbin-runtimes-") as folder:
        if path is not None:
            file = checked_path(Path(path), (".onnx",))
        else:
            file = Path(folder) / "model.onnx"
            if set(runtimes) != {"compiled"}:
                export_onnx(binarized, file, example)
        module, bound = prepare(binarized, example, None)
        samples = bound_samples(module.graph, bound, inputs)
        names = _binarized(binarized, example) if layers else []
        returned = return_layers(module, names)
        compare = _Comparison(binarized, module, file, samples, inputs, returned, tolerance, time_limit)
        return RuntimeReport(tuple(compare.run(runtime) for runtime in runtimes))


def _check_runtimes(runtimes: Sequence[Runtime]) -> None:
    """Raise ExportError unless `runtimes` is a list of known runtimes that are all installed."""
    if isinstance(runtimes, str) or not runtimes or not set(runtimes) <= set(get_args(Runtime)):
        known, given = ", ".join(get_args(Runtime)), [runtimes] if isinstance(runtimes, str) else runtimes
        raise ExportError(
            f"runtimes: expected a list of some of {known}, got {', '.join(map(repr, given)) or 'none'}"
        )
    extra = "openvino" if "openvino" in runtimes else "onnx"
    require(*(runtime for runtime in runtimes if runtime != "compiled"), extra=extra)


def _binarized(model: BinarizedModule, example: tuple[Any, ...] | None) -> list[str]:
    """Names of the call sites that an exported file has binarized."""
    in_file = (ExportMode.ONE_BIT, ExportMode.FLOAT)
    return [site.name for site in plan_export(model, example) if site.mode in in_file]


@dataclass(frozen=True)
class _Comparison:
    """A model, its file and its samples, to be run in one runtime after another."""

    model: BinarizedModule
    """The transformed model."""

    module: fx.GraphModule
    """The model as it is exported; it returns the outputs of `layers` after its own."""

    path: Path
    """The ONNX file of the model, which need not exist for the runtime ``"compiled"``."""

    samples: Sequence[BoundInputs]
    """The samples, bound to the inputs of `module`."""

    inputs: Sequence[Sample] | None
    """The samples as the user gave them."""

    layers: tuple[str, ...]
    """Names of the call sites to compare."""

    tolerance: float
    time_limit: float

    def run(self, runtime: Runtime) -> RuntimeResult:
        """Run the model in `runtime` and compare its outputs with PyTorch eager."""
        if runtime == "openvino":
            return self._openvino()
        return self._compared(runtime, self._compiled if runtime == "compiled" else self._onnxruntime)

    def _compared(self, runtime: Runtime, run: Callable[[], tuple[list[str], Outputs]]) -> RuntimeResult:
        try:
            names, found = run()
            checks = check_outputs(self.module, self.samples, [*names, *self.layers], found, self.tolerance)
        except (RuntimeError, VerificationError) as error:
            refusal = str(error).strip().partition("\n")[0]
            return RuntimeResult(runtime, (), 0, None, f"{refusal} {self._lost(runtime)}".rstrip())
        outputs, layers = checks[: len(names)], checks[len(names) :]
        first = next((layer.name for layer in layers if not layer.is_right), None)
        return RuntimeResult(runtime, outputs, len(layers), first, "")

    def _lost(self, runtime: Runtime) -> str:
        """What is missing of all that was written into the file; empty if nothing, or if it was not used."""
        record = read_record(self.path) if runtime == "onnxruntime" else None
        return "" if record is None else record.lost

    def _compiled(self) -> tuple[list[str], Outputs]:
        compiled = copy.deepcopy(self.module)
        compiled.compile()
        found = [[to_array(y) for y in outputs_of(compiled, sample)] for sample in self.samples]
        ports = range(len(found[0]) - len(self.layers))
        return [f"output_{port}" if port else "output" for port in ports], found

    def _onnxruntime(self) -> tuple[list[str], Outputs]:
        return run_in_onnxruntime(self.path, self.samples, self.layers)

    def _openvino(self) -> RuntimeResult:
        # Imported only when asked for: without OpenVINO, the other runtimes need none of this.
        from fxbin.openvino.verify import FULL_FLOAT, examine

        layers = bool(self.layers)
        try:
            report = examine(
                self.model, self.path, self.inputs, self.tolerance, layers, FULL_FLOAT, self.time_limit
            )
        except VerificationError as error:
            return RuntimeResult("openvino", (), 0, None, str(error))
        wrong = [layer.name for layer in report.layers if not layer.is_right]
        problem = "" if wrong else " ".join(report.problems)
        return RuntimeResult(
            "openvino", report.outputs, len(report.layers), wrong[0] if wrong else None, problem
        )
