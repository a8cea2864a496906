"""Times a model in ONNX Runtime: in float, and in 1 bit by fxbin's operators."""

import copy
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fxbin.binarized.module import BinarizedModule
from fxbin.engine.custom_ops import register_custom_ops
from fxbin.engine.library import Engine, engine_or_why_not
from fxbin.export import ExportMode, export_onnx
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.untrained import untrained_is_fine
from fxbin.report.benchmark import Timing
from fxbin.report.turns import Turns
from fxbin.runtimes.onnx_session import named_inputs


@dataclass(frozen=True)
class OnnxruntimeForm:
    """One form of a model, and the times measured so far."""

    name: str
    session: Any
    size: int
    """Bytes of the file."""
    promised: int
    """Number of convolutions that run in 1 bit where the engine is available."""
    one_bit: int
    operators: dict[str, int]
    seconds: list[float] = field(default_factory=list)

    def timing(self) -> Timing:
        """Return size, operators and times of this form."""
        name = f"{self.name}, computed in float" if self.promised > self.one_bit else self.name
        seconds = tuple(self.seconds)
        return Timing("onnxruntime", name, seconds, self.size, self.promised, self.one_bit, self.operators)


class OnnxruntimeForms:
    """Both forms of `model`, to be timed on `sample`. Raises ExportError if it cannot be exported."""

    def __init__(
        self,
        model: BinarizedModule,
        example_inputs: tuple[Any, ...] | None,
        sample: BoundInputs,
        turns: Turns,
    ) -> None:
        import onnxruntime

        self.version: str = onnxruntime.__version__
        """Version of ONNX Runtime."""
        self._sample, self._turns = sample, turns
        with tempfile.TemporaryDirectory(prefix="fxbin-benchmark-") as folder:
            self._forms = list(_written(model, Path(folder), example_inputs, turns.threads))

    def run_round(self) -> None:
        """Let each form take its turn."""
        now = self._turns.now
        for form in self._forms:
            inputs = named_inputs(self._sample, [value.name for value in form.session.get_inputs()])
            form.session.run(None, inputs)
            for _ in range(self._turns.repeat):
                start = now()
                form.session.run(None, inputs)
                form.seconds.append(now() - start)

    @property
    def timings(self) -> tuple[Timing, ...]:
        """Times of each form in the rounds so far."""
        return tuple(form.timing() for form in self._forms)


def _written(
    model: BinarizedModule, folder: Path, example_inputs: tuple[Any, ...] | None, threads: int
) -> Iterator[OnnxruntimeForm]:
    """Write each form of `model` into `folder`, and load it."""
    import onnx
    import onnxruntime

    model = copy.deepcopy(model)
    has_engine = isinstance(engine_or_why_not(), Engine)
    for name, is_binarized in (("float32", False), ("1 bit", True)):
        model.binarization.enable(activations=is_binarized, weights=is_binarized)
        file = folder / f"{name}.onnx"
        with untrained_is_fine():
            report = export_onnx(model, file, example_inputs, operators="fxbin")
        promised = report.count(ExportMode.ONE_BIT)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        if has_engine:
            register_custom_ops(options)
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(file, load_external_data=False).graph.node
        operators = dict(Counter(node.op_type for node in nodes))
        one_bit = promised if has_engine else 0
        yield OnnxruntimeForm(name, session, file.stat().st_size, promised, one_bit, operators)
