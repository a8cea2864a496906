"""One model in every runtime: PyTorch eager, compiled, onnxruntime and OpenVINO."""

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.text import Text
from torch import fx

from fxbin.errors import ExportError, VerificationError
from fxbin.export import export_onnx
from fxbin.export.inputs import BoundInputs
from fxbin.export.plan import lower, prepare
from fxbin.openvino import verify
from fxbin.openvino.compare import OutputCheck, allowed_difference, check_outputs, largest_difference
from fxbin.openvino.process import require
from fxbin.openvino.reference import layer_cases, outputs_of
from fxbin.openvino.samples import Sample, bound_samples, to_array
from fxbin.openvino.verify import first_sample
from fxbin.openvino.verify_report import output_table
from fxbin.report.table import as_text
from fxbin.transformed import transformed

Runtime = Literal["compiled", "onnxruntime", "openvino"]
"""``"compiled"`` is `torch.compile`, which needs a C++ compiler."""

Outputs = list[list[NDArray[Any]]]
"""For each sample, the outputs."""


@dataclass(frozen=True)
class RuntimeParity:
    """One runtime beside PyTorch eager."""

    runtime: Runtime
    outputs: tuple[OutputCheck, ...]

    first_difference: str | None
    """Name of the first binarized call site that differs; None if none does, or they were not compared."""

    problem: str
    """What kept the runtime from giving outputs; empty if nothing did."""

    @property
    def is_right(self) -> bool:
        """Whether it gave outputs and all of them are right."""
        return not self.problem and all(output.is_right for output in self.outputs)


@dataclass(frozen=True)
class ParityReport:
    """Several runtimes beside PyTorch eager. Prints as a table each."""

    runtimes: tuple[RuntimeParity, ...]

    @property
    def is_right(self) -> bool:
        """Whether all of them are."""
        return all(runtime.is_right for runtime in self.runtimes)

    def __str__(self) -> str:
        return as_text(self.__rich__())

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = []
        for found in self.runtimes:
            parts.append(Text(f"{found.runtime} beside PyTorch eager{':' if found.outputs else ''}"))
            parts.append(output_table(found.outputs) if found.outputs else Text(found.problem))
            if found.first_difference is not None:
                parts.append(Text(f"first layer that differs: {found.first_difference}"))
        return Group(*parts)


def parity(
    model: fx.GraphModule,
    inputs: Sequence[Sample] | None = None,
    *,
    runtimes: Sequence[Runtime] = ("onnxruntime", "openvino"),
    layers: bool = False,
    tolerance: float = 1e-4,
) -> ParityReport:
    """Run `model` in several runtimes and compare with PyTorch eager, in eval mode.

    Nothing is raised for a difference: it is in the report.

    Args:
        model: a transformed model, in its present stage. Its mode stays as it is.
        inputs: samples, each a tensor or a tuple of positional inputs; by default random numbers and
            zeros of the shapes in `input_info`.
        runtimes: any of ``"compiled"``, ``"onnxruntime"`` and ``"openvino"``.
        layers: name the first binarized call site that differs: in onnxruntime by what it computes in
            the whole network, in OpenVINO by itself, as there a value that is asked for is not fused.
        tolerance: as for `fxbin.openvino.verify`.

    Raises:
        ExportError: a runtime is not known or not installed, or the model cannot be exported.
    """
    model = transformed(model, "parity.parity")
    for runtime in runtimes:
        if runtime not in get_args(Runtime):
            raise ExportError(f"runtimes: expected some of {', '.join(get_args(Runtime))}, got {runtime!r}")
    require(*(runtime for runtime in runtimes if runtime != "compiled"))
    module, example = prepare(model, first_sample(inputs), None)
    samples = bound_samples(module.graph, example, inputs)
    with tempfile.TemporaryDirectory(prefix="fxbin-parity-") as folder:
        path = Path(folder) / "model.onnx"
        if set(runtimes) != {"compiled"}:
            export_onnx(model, path, first_sample(inputs))
        compare = _Comparison(model, path, samples, inputs, layers, tolerance)
        return ParityReport(tuple(compare.run(runtime) for runtime in runtimes))


@dataclass(frozen=True)
class _Comparison:
    model: fx.GraphModule
    path: Path
    samples: Sequence[BoundInputs]
    inputs: Sequence[Sample] | None
    layers: bool
    tolerance: float

    def run(self, runtime: Runtime) -> RuntimeParity:
        if runtime == "openvino":
            return self._openvino()
        if runtime == "compiled":
            compiled = copy.deepcopy(self.model).eval()
            compiled.compile()
            found = [[to_array(y) for y in outputs_of(compiled, sample)] for sample in self.samples]
            names = [f"output {port}" for port in range(len(found[0]))]
            return self._compared(runtime, names, found, None)
        names, found, first = self._onnxruntime()
        return self._compared(runtime, names, found, first)

    def _compared(
        self, runtime: Runtime, names: Sequence[str], found: Outputs, first: str | None
    ) -> RuntimeParity:
        checks = check_outputs(copy.deepcopy(self.model).eval(), self.samples, names, found, self.tolerance)
        return RuntimeParity(runtime, checks, first, "")

    def _openvino(self) -> RuntimeParity:
        try:
            report = verify(self.model, self.path, self.inputs, tolerance=self.tolerance, layers=self.layers)
        except VerificationError as error:
            report = error.report
            if report is None:
                return RuntimeParity("openvino", (), None, str(error))
        wrong = [layer.name for layer in report.layers if not layer.is_right]
        return RuntimeParity("openvino", report.outputs, wrong[0] if wrong else None, "")

    def _onnxruntime(self) -> tuple[list[str], Outputs, str | None]:
        """Names of the outputs, their values, and the first layer that differs on the first sample."""
        import onnx
        import onnxruntime

        proto = onnx.load(self.path)
        names = [output.name for output in proto.graph.output]
        cases = self._cases() if self.layers else {}
        values = {node.name.removesuffix("/Conv"): node.output[0] for node in proto.graph.node}
        asked = {name: values[name] for name in cases if name in values}
        proto.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(value) for value in asked.values() if value not in names
        )
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        taken = {value.name for value in session.get_inputs()}
        found = []
        first = None
        for index, sample in enumerate(self.samples):
            feed = {name: to_array(x) for name, x in zip(sample.names, sample.tensors, strict=True)}
            feed = {name: x for name, x in feed.items() if name in taken}
            results = session.run([*names, *asked.values()], feed)
            found.append(results[: len(names)])
            if index == 0:
                pairs = zip(asked, results[len(names) :], strict=True)
                first = next((name for name, y in pairs if not self._is_close(y, cases[name])), None)
        return names, found, first

    def _cases(self) -> dict[str, NDArray[Any]]:
        """What each binarized call site computes on the first sample, in execution order."""
        module, _ = prepare(self.model, self.samples[0].values, None)
        sites = lower(*prepare(self.model, self.samples[0].values, None))
        enabled = [site.name for site in sites if site.enabled]
        return {
            case.name: to_array(case.outputs[0]) for case in layer_cases(module, self.samples[0], enabled)
        }

    def _is_close(self, found: NDArray[Any], expected: NDArray[Any]) -> bool:
        return largest_difference(found, expected) <= allowed_difference(expected, self.tolerance)
