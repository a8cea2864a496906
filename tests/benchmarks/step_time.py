"""Time and memory of a training step with binarization, compared with the same model in full precision.

    python tests/benchmarks/step_time.py            # everything; needs torchvision and a C++ compiler
    python tests/benchmarks/step_time.py --model resnet20 --mode eager --threads 1
    python tests/benchmarks/step_time.py --mode eager --threads 1 --check  # exit 1 if a target is missed

A step is forward, loss, backward and Adam, on a fixed random batch of 64. For each model, mode and number of
threads, the full-precision model and all stages take turns in one process. A number is the median over the
rounds of the ratio in a round; in brackets, the ratio of the shortest steps, on which other load has less
influence. Memory is the largest amount allocated through PyTorch at any moment of a step (parameters,
gradients, Adam's state and the batch included; what oneDNN keeps for itself is not), as the profiler of
PyTorch records it. Stem and shortcut convolutions stay in full precision. Prints the table of
docs/performance.md.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[2]))
import fxbin
import tests.conftest  # noqa: F401  (makes torchvision import)
from fxbin.train.models import ResNetThin, resnet18_thin

BATCH = 64
STAGES = {
    "before any stage": ("xnor", False, False),
    "activations": ("xnor", True, False),
    "both, xnor": ("xnor", True, True),
    "both, dorefa": ("dorefa", True, True),
}
IGNORED = [r"{re}^[^/]*/NNCFConv2d\[conv1\]/", r"{re}\[downsample\]"]


def resnet20() -> nn.Module:
    """ResNet-20 of width 16, which keeps the size of the picture in its first group."""
    model = ResNetThin(widths=(16, 32, 64), blocks=(3, 3, 3))
    model.maxpool = nn.Identity()  # type: ignore[assignment]
    return model


def torchvision_resnet18() -> nn.Module:
    """ResNet18 of torchvision, for 1000 classes."""
    import torchvision

    model: nn.Module = torchvision.models.resnet18()
    return model


TARGETS = {"resnet18_thin": 1.00, "resnet20": 1.00, "resnet18": 0.90}
"""Most that a step with both binarized may take of one in full precision, in eager mode with one thread."""

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18_thin": (resnet18_thin, (1, 28, 28)),
    "resnet20": (resnet20, (1, 28, 28)),
    "resnet18": (torchvision_resnet18, (3, 64, 64)),
}


class Training:
    """A model with its optimizer and one batch."""

    def __init__(self, model: nn.Module, x: Tensor, mode: str) -> None:
        self.run = torch.compile(model, fullgraph=True) if mode == "compiled" else model
        self.optimizer = Adam(model.parameters(), lr=1e-3)
        self.x, self.y = x, torch.arange(len(x)) % 10
        self.kept = [x, *model.parameters(), *model.buffers()]
        self.times: list[float] = []

    def step(self) -> None:
        """Train on the batch."""
        self.optimizer.zero_grad()
        F.cross_entropy(self.run(self.x), self.y).backward()
        self.optimizer.step()

    def timed_step(self) -> None:
        """`step`, with its seconds added to `times`."""
        start = time.perf_counter()
        self.step()
        self.times.append(time.perf_counter() - start)

    def peak_bytes(self) -> int:
        """Most bytes allocated at any moment of a step."""
        self.optimizer.zero_grad()
        adam = [v for state in self.optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
        held = sum(tensor.nbytes for tensor in (*self.kept, *adam))
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            self.step()
        # The recorder's events of the allocator, in the order they happened.
        events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
        events.sort(key=lambda event: event.start_ns())
        peak = now = held
        for event in events:
            now += event.nbytes()
            peak = max(peak, now)
        return peak


def trainings(name: str, mode: str) -> dict[str, Training]:
    """The full-precision model, then one for each stage, all with the same weights."""
    build, shape = MODELS[name]
    torch.manual_seed(0)
    model, x = build(), torch.rand(BATCH, *shape)
    found = {"full precision": Training(copy.deepcopy(model), x, mode)}
    for stage, (scales, activations, weights) in STAGES.items():
        config: dict[str, Any] = {
            "input_info": {"sample_size": [1, *shape]},
            "compression": {"algorithm": "binarization", "mode": scales, "ignored_scopes": IGNORED},
        }
        binarized = fxbin.transform(model, config)
        binarized.binarization.enable(activations=activations, weights=weights)
        found[stage] = Training(binarized, x, mode)
    return found


def measure(name: str, mode: str, threads: int, seconds: float) -> tuple[str, bool]:
    """One row of the table, and whether it meets the target, where there is one."""
    torch.set_num_threads(threads)
    torch.compiler.reset()  # threads are compiled in
    found = trainings(name, mode)
    for training in found.values():
        for _ in range(3):  # starts the scales, compiles
            training.step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for training in found.values():
            training.timed_step()
    full = found.pop("full precision")
    base, peak = statistics.median(full.times), full.peak_bytes()
    ratios = [
        statistics.median(own / other for own, other in zip(training.times, full.times, strict=True))
        for training in found.values()
    ]
    memory = [training.peak_bytes() / peak for training in found.values()]
    best = [min(training.times) / min(full.times) for training in found.values()]
    cells = [f"{ratio:.2f} ({least:.2f})" for ratio, least in zip(ratios, best, strict=True)]
    cells.append(f"{max(memory[2:]):.2f}")
    has_target = (mode, threads) == ("eager", 1)
    row = " | ".join([name, mode, str(threads), f"{1000 * base:.0f}", f"{peak / 1e6:.0f}", *cells])
    return row, not has_target or max(ratios[2:]) <= TARGETS[name]


def main() -> int:
    """Measure and print; 1 if a target is missed and that is to be checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--mode", choices=("eager", "compiled"), action="append")
    parser.add_argument("--threads", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=60, help="of timed steps, for each row")
    parser.add_argument("--check", action="store_true", help=f"exit with 1 above {TARGETS}, eager, 1 thread")
    args = parser.parse_args()
    header = ["model", "mode", "threads", "full precision, ms", "its peak, MB", *STAGES, "peak memory, both"]
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    cells = product(args.model or MODELS, args.mode or ("eager", "compiled"), args.threads or (1, 2))
    are_met = True
    for name, mode, threads in cells:
        row, is_met = measure(name, mode, threads, args.seconds)
        print(f"| {row} |", flush=True)
        are_met &= is_met
    return int(args.check and not are_met)


if __name__ == "__main__":
    sys.exit(main())
