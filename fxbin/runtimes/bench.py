"""Measures how much faster binarization makes a model in each runtime on this machine."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args

from torch import nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed
from fxbin.errors import ExportError
from fxbin.export.packages import require
from fxbin.lowering.inputs import BoundInputs
from fxbin.lowering.prepare import prepare
from fxbin.report.benchmark import BenchmarkReport, BenchmarkRuntime, Timing, processor_name
from fxbin.report.turns import Turns
from fxbin.runtimes.choice import check_choice
from fxbin.runtimes.deployed_forms import DeployedForms, share_that_fires
from fxbin.runtimes.onnxruntime_forms import OnnxruntimeForms
from fxbin.verification.samples import bound_samples
from fxbin.verification.time_limit import TIME_LIMIT, check_time_limit

if TYPE_CHECKING:
    from fxbin.openvino.cache import CacheDir


def benchmark(
    model: nn.Module,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    runtimes: Sequence[BenchmarkRuntime] | None = None,
    int8: bool | None = None,
    threads: int = 1,
    precision: str = "f32",
    rounds: int = 15,
    repeat: int = 3,
    cache_dir: "CacheDir" = None,
    time_limit: float = TIME_LIMIT,
) -> BenchmarkReport:
    """Time a model in full precision and in 1 bit, in PyTorch, onnxruntime and OpenVINO, in one run.

    For this, all binarizers are enabled or none, whatever the stage. In PyTorch, the model is timed in
    channels_last as `fxbin.deploy` makes it: without binarizers, and in 1 bit with the engine. In
    onnxruntime, it is timed without binarizers, and in 1 bit with fxbin's operators; in OpenVINO, in float32,
    int8, 1 bit, and 1 bit with the rest in int8.

    All forms take turns, so that other load on the machine slows all of them down; medians are compared. With
    one thread, CPU time is measured, with more threads wall-clock time. OpenVINO runs in a separate process.

    Args:
        model: a transformed model. Training makes no difference to its speed in OpenVINO. The fewer
            activations fire, the faster the engine is.
        example_inputs: positional inputs; by default random numbers of the shapes in `input_info`.
        runtimes: any of ``"engine"``, which is PyTorch with `fxbin.deploy`, ``"onnxruntime"`` and
            ``"openvino"``; by default the engine, and OpenVINO if it is installed.
        int8: whether to time OpenVINO's int8 forms, which needs nncf; by default, if nncf is installed.
        threads: number of threads that a runtime may use.
        precision: OpenVINO's precision hint, ``"f32"`` or ``"bf16"``.
        rounds: number of rounds in which each form takes its turn.
        repeat: number of measured forwards of each form in a round, after one that is not measured.
        cache_dir: a folder in which OpenVINO caches compiled models.
        time_limit: seconds that OpenVINO may take to compile one form, or for one round of all its forms.

    Raises:
        ExportError: a runtime is unknown, a package is missing, an option is OpenVINO's and OpenVINO is not
            among the runtimes, OpenVINO refuses a file or takes longer than `time_limit`, or the model can be
            neither exported nor deployed.
    """
    chosen = _chosen(runtimes)
    if "onnxruntime" in chosen:
        require("numpy", "onnx", "onnxruntime", extra="onnx")
    check_time_limit(time_limit)
    turns = Turns(rounds, repeat, threads)
    in_openvino: dict[str, Any] = {"int8": int8, "precision": precision, "cache_dir": cache_dir}
    if "openvino" in chosen:
        in_openvino["int8"] = _with_int8(int8)
    else:
        _check_unused(in_openvino)
    binarized = transformed(model, "benchmark")
    module, sample = prepare(binarized, example_inputs, None)
    if example_inputs is None:
        sample, _ = bound_samples(module.graph, sample, None)
    versions, timings = _time(binarized, example_inputs, sample, turns, chosen, in_openvino, time_limit)
    return BenchmarkReport(
        versions=versions,
        device=processor_name(),
        threads=threads,
        precision=precision,
        clock=turns.clock,
        shapes=tuple(tuple(x.shape) for x in sample.tensors),
        fired=None if [*chosen] == ["openvino"] else share_that_fires(binarized, sample),
        timings=timings,
        model=type(binarized).__name__,
        binarized=len(binarized.binarization.sites),
        random_inputs=example_inputs is None,
    )


def _time(
    binarized: BinarizedModule,
    example_inputs: tuple[Any, ...] | None,
    sample: BoundInputs,
    turns: Turns,
    chosen: Sequence[BenchmarkRuntime],
    in_openvino: Mapping[str, Any],
    time_limit: float,
) -> tuple[dict[BenchmarkRuntime, str], tuple[Timing, ...]]:
    """Time all forms in the `chosen` runtimes; return the versions of these, and the timings."""
    here: list[DeployedForms | OnnxruntimeForms] = []
    versions: dict[BenchmarkRuntime, str] = {}
    if "engine" in chosen:
        here.append(DeployedForms(binarized, example_inputs, sample, turns))
        versions["engine"] = here[-1].version
    if "onnxruntime" in chosen:
        here.append(OnnxruntimeForms(binarized, example_inputs, sample, turns))
        versions["onnxruntime"] = here[-1].version

    def take_turn() -> None:
        for forms in here:
            forms.run_round()

    there: list[Timing] = []
    if "openvino" in chosen:
        # Imported only when asked for: without OpenVINO, the engine needs none of this.
        from fxbin.openvino.bench import time_in_openvino

        given = binarized, example_inputs, sample, turns
        options = dict(in_openvino, time_limit=time_limit, take_turn=take_turn)
        versions["openvino"], there = time_in_openvino(*given, **options)
    else:
        for _ in range(turns.rounds):
            take_turn()
    return versions, (*(timing for forms in here for timing in forms.timings), *there)


def _chosen(runtimes: Sequence[BenchmarkRuntime] | None) -> Sequence[BenchmarkRuntime]:
    """Return `runtimes`, by default the engine, and OpenVINO if installed. Raises ExportError if unknown."""
    if runtimes is None:
        return ["engine", "openvino"] if find_spec("openvino") else ["engine"]
    check_choice(runtimes, get_args(BenchmarkRuntime))
    return runtimes


def _with_int8(int8: bool | None) -> bool:
    """Return whether OpenVINO's int8 forms are timed. Raises ExportError if a package for that is missing."""
    int8 = find_spec("nncf") is not None if int8 is None else int8
    require("openvino", *(["nncf"] if int8 else []), extra="openvino")
    return int8


def _check_unused(options: Mapping[str, Any]) -> None:
    """Raise ExportError if one of the `options` of OpenVINO differs from its default."""
    for option, value in options.items():
        if value not in (None, False, "f32"):
            raise ExportError(
                f"{option}: got {value!r}, an option of OpenVINO, which is not among the runtimes; add "
                '"openvino" to them, or leave the option out'
            )
