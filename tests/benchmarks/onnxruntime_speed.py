"""Times networks in onnxruntime: in float32, and in 1 bit by fxbin's operators.

    python tests/benchmarks/onnxruntime_speed.py            # needs torchvision, onnxruntime and a C compiler
    python tests/benchmarks/onnxruntime_speed.py ResNet18 --threads 2 --batch 8
    python tests/benchmarks/onnxruntime_speed.py --quick --check

Both in one process and in turns, 224x224. The float32 file is that of the network before it was binarized. Of
each binarized input, a share fires that is set by the thresholds; the table says how much does. The
difference to PyTorch, by the output's size, is that before these were set: they are at values of the input,
so many fall on their other side by rounding. A ratio is the median over the rounds of the ratio in a round;
in brackets stands the ratio of the shortest times, which a busy machine disturbs less. `--check` exits with 1
where that is below its target for ResNet18. Prints the table of docs/engine.md.
"""

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers import ActivationBinarizer
from fxbin.export import ExportMode
from tests.benchmarks.openvino_speed import CASES, SIZE, Case

TARGETS = {"ResNet18": 5.0}
"""Times the speed of float32, on one thread, one picture at a time."""

SHARE = 0.28
"""As a network has that was trained with `activation_threshold_init: "mse"`."""


class Firing:
    """Sets the thresholds of binarizers so that a share of each channel fires, and counts what does."""

    def __init__(self, model: BinarizedModule, share: float) -> None:
        self.share, self.fired, self.inputs = share, 0, 0
        binarizers = [each for each in model.modules() if isinstance(each, ActivationBinarizer)]
        self.handles = [each.register_forward_pre_hook(self.start) for each in binarizers]

    def start(self, binarizer: nn.Module, args: tuple[Any, ...]) -> None:
        """Set the threshold of one binarizer, by the input that it gets, before it runs."""
        assert isinstance(binarizer, ActivationBinarizer)
        (x,) = args
        top = x.amax().clamp(min=1e-3) * 1.01
        bounds = torch.quantile(x.permute(1, 0, 2, 3).flatten(1)[:, :100_000], 1 - self.share, dim=1)
        binarizer.scale.copy_(top.log())
        binarizer.threshold.copy_((bounds / top).clamp(1e-4, 0.999).logit().view_as(binarizer.threshold))
        bound = binarizer.levels().threshold
        self.fired += int((x > bound).sum())
        self.inputs += x.numel()


def keep_table_whole() -> None:
    """Silence a warning of `torch.onnx.export`, which would be printed between the rows."""
    warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\)", FutureWarning)


def with_share(model: BinarizedModule, x: Tensor, share: float) -> float:
    """Let `share` of the inputs fire in `model` where `x` is its input; return how much does."""
    firing = Firing(model, share)
    with torch.no_grad():
        model(x)
    for handle in firing.handles:
        handle.remove()
    return firing.fired / firing.inputs


@dataclass(frozen=True)
class Result:
    """Times of one network."""

    name: str
    fires: float
    sites: int
    in_bits: int
    difference: float
    """To PyTorch, the largest by the output's size."""
    float32: list[float]
    """Seconds of each round."""
    bits: list[float]

    @property
    def ratios(self) -> tuple[float, float]:
        """How many times as fast, see `ratios`."""
        return ratios(self.float32, self.bits)

    @property
    def row(self) -> str:
        """Of the table."""
        median, best = self.ratios
        times = f"{min(self.float32) * 1e3:.2f} | {min(self.bits) * 1e3:.2f} | {median:.2f} ({best:.2f})"
        count = f"{self.in_bits} of {self.sites}"
        return f"| {self.name} | {self.fires:.0%} | {count} | {times} | {self.difference:.0e} |"


def session(path: Path, threads: int, *, registered: bool) -> Any:
    """A session for the file, on a CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if registered:
        fxbin.register_custom_ops(options)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def stopwatch(runner: Any, x: Tensor) -> Callable[[], float]:
    """Seconds that one run takes."""
    named = {runner.get_inputs()[0].name: x.numpy()}

    def seconds() -> float:
        start = time.perf_counter()
        runner.run(None, named)
        return time.perf_counter() - start

    return seconds


def difference_to(model: BinarizedModule, runner: Any, x: Tensor) -> float:
    """The largest between what `runner` and `model` compute, by the size of that."""
    (found, *_) = runner.run(None, {runner.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        expected = model(x).numpy()
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def measure(case: Case, rounds: int, threads: int, batch: int, share: float) -> Result:
    """Export one network in both forms, and time them in turns."""
    x = torch.rand(batch, *SIZE[1:], generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    network, model = case.make().eval(), case.binarized()
    with tempfile.TemporaryDirectory() as folder:
        plain, bits = Path(folder) / "float32.onnx", Path(folder) / "bits.onnx"
        torch.onnx.export(network, (x,), plain, dynamo=True, verbose=False)
        fxbin.export_onnx(model, bits, (x,), operators="fxbin")
        difference = difference_to(model, session(bits, threads, registered=True), x)
        fires = with_share(model, x, share)
        report = fxbin.export_onnx(model, bits, (x,), operators="fxbin")
        runners = session(plain, threads, registered=False), session(bits, threads, registered=True)
    times: tuple[list[float], list[float]] = ([], [])
    watches = [stopwatch(runner, x) for runner in runners]
    for _ in range(rounds):
        for watch, seconds in zip(watches, times, strict=True):
            watch()  # does not count: the caches have had the other's data
            seconds.append(watch())
    return Result(
        case.name,
        fires,
        len(report.sites),
        report.count(ExportMode.ONE_BIT),
        difference,
        *times,
    )


def ratios(slow: list[float], fast: list[float]) -> tuple[float, float]:
    """How many times as fast: the median over the rounds, and by the shortest times."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True)), min(slow) / min(fast)


def read_arguments(description: str | None) -> argparse.Namespace:
    """The command line of this benchmark and of `deployed_speed`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="beginnings of names; all by default")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--share", type=float, default=SHARE, help="of the inputs that fire")
    parser.add_argument("--quick", action="store_true", help="only ResNet18")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    return parser.parse_args()


def main() -> None:
    """Measure, and print the table."""
    arguments = read_arguments(__doc__)
    keep_table_whole()
    names = tuple(TARGETS) if arguments.quick else tuple(arguments.names)
    torch.set_num_threads(arguments.threads)
    print(f"onnxruntime {onnxruntime.__version__}, threads: {arguments.threads}, batch: {arguments.batch}\n")
    print("| network | fires | in 1 bit | float32, ms | 1 bit, ms | times as fast | difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    missed = []
    for case in CASES:
        if names and not case.name.startswith(names):
            continue
        result = measure(case, arguments.rounds, arguments.threads, arguments.batch, arguments.share)
        print(result.row, flush=True)
        if result.ratios[1] < TARGETS.get(case.name, 0):
            missed.append(case.name)
    if arguments.check and missed:
        sys.exit(f"a target is missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
