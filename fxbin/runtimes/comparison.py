"""Compares a model that is compiled, deployed, in ONNX Runtime and in OpenVINO with PyTorch eager."""

import copy
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from torch import fx, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.deployment import deploy
from fxbin.engine.library import Engine, engine, engine_or_why_not
from fxbin.errors import EngineError, VerificationError
from fxbin.export import ExportMode, export_onnx
from fxbin.export.file_record import read_record
from fxbin.export.packages import require
from fxbin.export.plan import plan_export
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.prepare import prepare
from fxbin.runtimes.choice import check_choice
from fxbin.runtimes.engine_session import run_deployed, run_program
from fxbin.runtimes.layer_outputs import return_layers, return_values
from fxbin.runtimes.onnx_session import form_of, run_in_onnxruntime
from fxbin.runtimes.report import IN_PYTORCH, Runtime, RuntimeReport, RuntimeResult
from fxbin.verification.compare import check_outputs
from fxbin.verification.model_file import checked_path
from fxbin.verification.reference import outputs_of
from fxbin.verification.samples import Sample, bound_samples, first_sample, to_array
from fxbin.verification.time_limit import TIME_LIMIT, check_time_limit
from fxbin.verification.tolerance import check_tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

Outputs: TypeAlias = "list[list[NDArray[Any]]]"
"""The outputs for each sample."""

PROGRAM = ".pt2"
"""Suffix of a program for PyTorch."""

FOR_PYTORCH = "{path}: it is a program for PyTorch, which only the engine runs; give an .onnx file"

IN_FLOAT = "the engine is not available here, so PyTorch's operators computed this in float: see the warning"


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

    Differences and errors of a runtime do not raise an error, but are in the report. A file in standard
    operators is not expected to run in 1 bit in OpenVINO.

    Args:
        model: a transformed model, in its current stage; its mode does not change.
        path: an ONNX file of it, or for ``"engine"`` a program that `fxbin.export_program` wrote. By default,
            temporary ONNX files are exported: onnxruntime then runs one with fxbin's operators, in 1 bit
            where the engine can be built, and gives its `layers` from the one for OpenVINO, in float.
        inputs: samples, each a tensor or a tuple of positional inputs; by default random numbers and
            zeros of the shapes in `input_info`.
        runtimes: any of ``"compiled"``, which is `torch.compile`, ``"engine"``, which is the model that
            `fxbin.deploy` makes, ``"onnxruntime"`` and ``"openvino"``. The first two do not use an ONNX file.
        layers: whether to compare each binarized call site as well, and name the first that differs. OpenVINO
            runs each by itself, as in `fxbin.openvino.verify`, because it does not fuse layers that are
            outputs. Layers of the engine are compared after what has become part of them: BatchNorm, sum,
            activation. They are compared as floats, even where outputs are computed from bits alone.
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
            files = _Files(checked_path(Path(path), (".onnx", PROGRAM)))
        else:
            files = _exported(binarized, example, runtimes, Path(folder), layers=layers)
        module, bound = prepare(binarized, example, None)
        samples = bound_samples(module.graph, bound, inputs)
        names = _binarized(binarized, example) if layers else []
        returned = return_layers(module, names)
        compare = _Comparison(binarized, module, files, samples, inputs, returned, tolerance, time_limit)
        return RuntimeReport(tuple(compare.run(runtime) for runtime in runtimes))


@dataclass(frozen=True)
class _Files:
    """The files of the model."""

    path: Path
    """The one that the user gave, or an exported one for OpenVINO."""

    bits: Path | None = None
    """An exported one with fxbin's operators, for onnxruntime; None if `path` is used there."""

    @property
    def is_program(self) -> bool:
        """Whether `path` is a program for PyTorch."""
        return self.path.suffix == PROGRAM


def _exported(
    model: BinarizedModule,
    example: tuple[Any, ...] | None,
    runtimes: Sequence[Runtime],
    folder: Path,
    *,
    layers: bool,
) -> _Files:
    """Export the files that `runtimes` need into `folder`."""
    files = _Files(folder / "model.onnx", folder / "bits.onnx")
    if "onnxruntime" not in runtimes or not isinstance(engine_or_why_not(), Engine):
        files = _Files(files.path)
    if files.bits is not None:
        export_onnx(model, files.bits, example, operators="fxbin")
    if "openvino" in runtimes or ("onnxruntime" in runtimes and (layers or files.bits is None)):
        export_onnx(model, files.path, example)
    return files


def _check_runtimes(runtimes: Sequence[Runtime]) -> None:
    """Raise ExportError unless `runtimes` is a list of known runtimes that are all installed."""
    check_choice(runtimes, get_args(Runtime))
    extra = "openvino" if "openvino" in runtimes else "onnx"
    require("numpy", *(runtime for runtime in runtimes if runtime not in IN_PYTORCH), extra=extra)


def _binarized(model: BinarizedModule, example: tuple[Any, ...] | None) -> list[str]:
    """Return the names of the call sites that are binarized in an exported file."""
    in_file = (ExportMode.ONE_BIT, ExportMode.FLOAT)
    return [site.name for site in plan_export(model, example) if site.mode in in_file]


@dataclass(frozen=True)
class _Run:
    """The values that a runtime returned, and what to compare them with."""

    names: Sequence[str]
    """Names of the outputs of the model."""

    layers: Sequence[str]
    """Names of the call sites whose values follow the outputs."""

    found: Outputs
    """The values of the outputs and layers, for each sample."""

    reference: fx.GraphModule
    """The model in PyTorch eager, which returns the same outputs and layers."""

    problem: str = ""
    """What is wrong regardless of the values; empty if nothing is."""

    form: str = ""
    """Which form of the model ran, if there are several."""


@dataclass(frozen=True)
class _Comparison:
    """A model, its file and its samples, to be run in one runtime after another."""

    model: BinarizedModule
    """The transformed model."""

    module: fx.GraphModule
    """The model as it is exported; it returns the outputs of `layers` after its own."""

    files: _Files
    """The files of the model, which need not exist for runtimes in PyTorch."""

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
        runs = {"compiled": self._compiled, "engine": self._engine, "onnxruntime": self._onnxruntime}
        return self._compared(runtime, runs[runtime])

    def _compared(self, runtime: Runtime, run: Callable[[], _Run]) -> RuntimeResult:
        try:
            ran = run()
            names = [*ran.names, *ran.layers]
            checks = check_outputs(ran.reference, self.samples, names, ran.found, self.tolerance)
        except (RuntimeError, EngineError, VerificationError) as error:
            refusal = str(error).strip().partition("\n")[0]
            return RuntimeResult(runtime, (), 0, None, f"{refusal} {self._lost(runtime)}".rstrip())
        outputs, layers = checks[: len(ran.names)], checks[len(ran.names) :]
        first = next((layer.name for layer in layers if not layer.is_right), None)
        return RuntimeResult(runtime, outputs, len(layers), first, ran.problem, ran.form)

    def _lost(self, runtime: Runtime) -> str:
        """Return what the file has lost since it was written; empty if nothing, or if it was not used."""
        uses_it = runtime == "onnxruntime" and not self.files.is_program
        record = read_record(self.files.path) if uses_it and self.files.bits is None else None
        return "" if record is None else record.lost

    def _compiled(self) -> _Run:
        compiled = copy.deepcopy(self.module)
        compiled.compile()
        found = [[to_array(y) for y in outputs_of(compiled, sample)] for sample in self.samples]
        return _Run(_output_names(found, self.layers), self.layers, found, self.module)

    def _engine(self) -> _Run:
        if self.files.is_program:
            return self._program()
        example = first_sample(self.inputs)
        deployed = deploy(self.model, example)
        found, origins = run_deployed(deployed, self.samples, layers=bool(self.layers))
        reference, _ = prepare(self.model, example, None)
        nodes = {node.name: node for node in reference.graph.nodes}
        return_values(reference, [nodes[name] for name in origins.values()])
        problem = IN_FLOAT if deployed.packed_convolutions and engine() is None else ""
        return _Run(_output_names(found, list(origins)), list(origins), found, reference, problem)

    def _program(self) -> _Run:
        """Run the program that the user gave. It has no layers to compare."""
        found, calls_engine = run_program(self.files.path, self.samples)
        reference, _ = prepare(self.model, first_sample(self.inputs), None)
        problem = IN_FLOAT if calls_engine and engine() is None else ""
        return _Run(_output_names(found, ()), (), found, reference, problem, "the program in the file")

    def _onnxruntime(self) -> _Run:
        path, bits = self.files.path, self.files.bits
        if self.files.is_program:
            raise VerificationError(FOR_PYTORCH.format(path=path))
        if bits is None:
            names, found = run_in_onnxruntime(path, self.samples, self.layers)
            return _Run(names, self.layers, found, self.module, form=form_of(path))
        names, found = run_in_onnxruntime(bits, self.samples, ())
        form = form_of(bits)
        if self.layers:
            _, of_layers = run_in_onnxruntime(path, self.samples, self.layers)
            found = [
                [*outputs, *values[len(names) :]] for outputs, values in zip(found, of_layers, strict=True)
            ]
            form += f"; layers: {form_of(path)}"
        return _Run(names, self.layers, found, self.module, form=form)

    def _openvino(self) -> RuntimeResult:
        # Imported only when asked for: without OpenVINO, the other runtimes need none of this.
        from fxbin.openvino.verify import FULL_FLOAT, examine

        layers = bool(self.layers)
        if self.files.is_program:
            return RuntimeResult("openvino", (), 0, None, FOR_PYTORCH.format(path=self.files.path))
        try:
            report = examine(
                self.model, self.files.path, self.inputs, self.tolerance, layers, FULL_FLOAT, self.time_limit
            )
        except VerificationError as error:
            return RuntimeResult("openvino", (), 0, None, str(error))
        wrong = [layer.name for layer in report.layers if not layer.is_right]
        problem = "" if wrong else " ".join(report.problems)
        return RuntimeResult(
            "openvino", report.outputs, len(report.layers), wrong[0] if wrong else None, problem
        )


def _output_names(found: Outputs, layers: Sequence[str]) -> list[str]:
    """Return names of the outputs that precede the values of `layers`, as in an exported file."""
    ports = range(len(found[0]) - len(layers))
    return [f"output_{port}" if port else "output" for port in ports]
