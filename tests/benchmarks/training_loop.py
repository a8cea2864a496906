"""What the loop of `fxbin train` costs beside one that is written by hand, over the same batches.

    python tests/benchmarks/training_loop.py
    python tests/benchmarks/training_loop.py --check

Both train the same network in the same stage, in turns, epoch by epoch. The loop of `fxbin train` also counts
the parts of the loss, records diagnostics of each call site and moves the display; the other one does what
any loop does: forward, loss, backward, step, schedule, mean loss and accuracy. On a CPU, the time is that of
the processor in this process. Prints the ratio of the shortest times, which other load on the machine changes
least, and the median of the ratios in a round; `--check` looks at the former.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))
import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.config import load_config
from fxbin.diagnostics import Diagnostics
from fxbin.train import models
from fxbin.train.distillation import DistillationLoss
from fxbin.train.optimizer_step import OptimizerStep
from fxbin.train.phase import Phase
from fxbin.train.progress import TrainingProgress
from fxbin.train.run_phase import train_with_schedule

LIMIT = 1.03
"""Largest ratio of the two times that `--check` accepts."""

CONFIG: dict[str, Any] = {
    "compression": {
        "algorithm": "binarization",
        "params": {
            "activations_quant_start_epoch": 1,
            "weights_quant_start_epoch": 2,
            "activation_scale_init": "mse",
        },
    },
}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "resnet_thin, 28x28": (models.resnet_thin, (1, 28, 28)),
    "resnet18_thin, 64x64": (partial(models.resnet18_thin, in_channels=3), (3, 64, 64)),
}
"""The networks, each with the shape of its images."""

EPOCH = 2
"""The first epoch in which everything is binarized."""


class Batches:
    """The same random batches in each epoch."""

    def __init__(self, count: int, size: int, shape: tuple[int, int, int], device: torch.device) -> None:
        self.shape = shape
        x = torch.rand(count, size, *shape, device=device)
        y = torch.randint(10, (count, size), device=device)
        self._batches = list(zip(x, y, strict=True))

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, _number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches."""
        yield from self._batches[start:]


def by_hand(
    model: BinarizedModule,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: fxbin.StagedSchedule,
    batches: Batches,
) -> tuple[float, float]:
    """Train one epoch as one would write it; return the mean loss and the share of correct images."""
    loss_function = DistillationLoss(teacher)
    model.train()
    device = next(model.parameters()).device
    total, correct, images = torch.zeros((), device=device), torch.zeros((), device=device), 0
    for index, (x, y) in enumerate(batches.epoch(EPOCH)):
        optimizer.zero_grad()
        logits = model(x)
        loss = loss_function(logits, x, y)
        loss.backward()
        optimizer.step()
        schedule.step((index + 1) / len(batches))
        total += loss.detach()
        correct += (logits.detach().argmax(1) == y).sum()
        images += len(y)
    return (total / len(batches)).item(), (correct / images).item()


def clock(device: torch.device) -> float:
    """Seconds of the processor, or on a GPU those on the wall after it has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def timed(function: Callable[[], object], device: torch.device) -> float:
    """Seconds that `function` takes."""
    started = clock(device)
    function()
    return clock(device) - started


def times(
    teacher: nn.Module, batches: Batches, rounds: int, device: torch.device
) -> list[tuple[float, float]]:
    """Seconds of an epoch of `fxbin train`, and of one by hand, in each of `rounds` rounds."""
    config = CONFIG | {"input_info": {"sample_size": [1, *batches.shape]}}
    network = fxbin.transform(teacher.to(device), load_config(config))
    own, other = network, copy.deepcopy(network)
    optimizers = [torch.optim.Adam(fxbin.parameter_groups(model)) for model in (own, other)]
    schedules = [fxbin.StagedSchedule(own, optimizers[0]), fxbin.StagedSchedule(other, optimizers[1])]
    step = OptimizerStep(optimizers[0], device)
    phase = Phase("staged", own, optimizers[0], schedules[0], DistillationLoss(teacher), EPOCH + 1, step=step)
    found: list[tuple[float, float]] = []
    with Diagnostics(own):
        for index in range(rounds + 1):
            for schedule in schedules:
                schedule.start_epoch(EPOCH)
            runs = [
                lambda: train_with_schedule(phase, own, EPOCH, batches, TrainingProgress()),  # type: ignore[arg-type]
                lambda: by_hand(other, teacher, optimizers[1], schedules[1], batches),
            ]
            # Each goes first in every second round.
            order = (0, 1) if index % 2 else (1, 0)
            seconds = {which: timed(runs[which], device) for which in order}
            found.append((seconds[0], seconds[1]))
    return found[1:]  # without the first round, in which memory is allocated


def main() -> int:
    """Print the ratios; with ``--check`` return 1 if one is above `LIMIT`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=15, help="epochs of each loop (default: 15)")
    parser.add_argument("--batches", type=int, default=4, help="batches in an epoch (default: 4)")
    parser.add_argument("--size", type=int, default=32, help="images in a batch (default: 32)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--check", action="store_true", help=f"fail above a ratio of {LIMIT}")
    given = parser.parse_args()
    device = torch.device(given.device)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    worst = 0.0
    print("time of an epoch of fxbin train, as a share of one by hand: of the shortest times, and the median")
    for name, (make, shape) in NETWORKS.items():
        found = times(make(), Batches(given.batches, given.size, shape, device), given.rounds, device)
        own, by_hand = zip(*found, strict=True)
        shortest = min(own) / min(by_hand)
        worst = max(worst, shortest)
        print(f"{name:>22}  {shortest:.3f}  {statistics.median(a / b for a, b in found):.3f}")
    if given.check and worst > LIMIT:
        print(f"above {LIMIT}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
