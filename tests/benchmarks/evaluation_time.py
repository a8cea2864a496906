"""Time of an evaluation of a binarized network, compared with the same network in full precision.

    python tests/benchmarks/evaluation_time.py            # one thread
    python tests/benchmarks/evaluation_time.py --check    # exit code 1 if a target is missed

What `fxbin train` runs after each epoch, on random images of 28x28: the network of `make demo` and that of
tests/benchmarks/accuracy.py, with stem and shortcuts in full precision, and BatchNorm re-estimation on as
many images. Both networks take turns in one process. Times are those of the CPU, which other processes
lengthen least: the median over the rounds of the ratio in a round, and in brackets the ratio of the shortest
times. The target is for 10 000 images. Prints the table of docs/performance.md.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))
import fxbin
from fxbin.engine.library import training_engine
from fxbin.train.data.interface import EVALUATION_BATCH
from fxbin.train.epoch import predict
from fxbin.train.models import resnet18_thin, resnet_thin

TARGET, TARGET_IMAGES = 1 / 3, 10_000
IGNORED = [r"{re}^[^/]*/NNCFConv2d\[conv1\]/", r"{re}\[downsample\]"]
MODELS: dict[str, Callable[[], nn.Module]] = {"resnet_thin": resnet_thin, "resnet18_thin": resnet18_thin}


def networks(name: str) -> tuple[nn.Module, fxbin.BinarizedModule]:
    """One network in full precision and binarized, after some batches."""
    torch.manual_seed(0)
    model = MODELS[name]()
    for _ in range(3):
        model(torch.rand(64, 1, 28, 28))
    config = {
        "input_info": {"sample_size": [1, 1, 28, 28]},
        "compression": {"algorithm": "binarization", "ignored_scopes": IGNORED},
    }
    binarized = fxbin.transform(copy.deepcopy(model), config)
    binarized.binarization.enable(activations=True, weights=True)
    for _ in range(3):
        binarized(torch.rand(64, 1, 28, 28))
    return model.eval(), binarized.eval()


def in_turns(runs: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each of `runs` in each round, after one that does not count."""
    times: list[list[float]] = [[] for _ in runs]
    for round_ in range(rounds + 1):
        for run, own in zip(runs, times, strict=True):
            start = time.process_time()
            run()
            if round_:
                own.append(time.process_time() - start)
    return times


def row(name: str, images: int, rounds: int) -> tuple[str, float]:
    """One row of the table, and its ratio for an evaluation."""
    model, binarized = networks(name)
    x = torch.rand(images, 1, 28, 28)

    def reestimate(network: nn.Module) -> Callable[[], object]:
        batches: tuple[Tensor, ...] = x.split(EVALUATION_BATCH)
        return lambda: fxbin.reestimate_batch_norm(network, batches)

    cells, ratios = [name, str(images)], []
    pairs: list[list[Callable[[], object]]] = [
        [lambda: predict(model, x), lambda: predict(binarized, x)],
        [reestimate(model), reestimate(binarized)],
    ]
    for pair in pairs:
        full, one_bit = in_turns(pair, rounds)
        ratio = statistics.median(b / a for a, b in zip(full, one_bit, strict=True))
        ratios.append(ratio)
        cells += [f"{1000 * statistics.median(full):.0f}", f"{ratio:.2f} ({min(one_bit) / min(full):.2f})"]
    return f"| {' | '.join(cells)} |", ratios[0]


def main() -> int:
    """Measure and print; 1 if a target is missed and that is to be checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--images", type=int, action="append", help="by default 1000 and 10000")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--check", action="store_true", help=f"exit with 1 above {TARGET:.2f} in an evaluation"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    if training_engine() is None:
        print("the engine is not available: both compute in float", file=sys.stderr)
    print("| network | images | evaluation, ms | in 1 bit | re-estimation, ms | in 1 bit |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    ratios = []
    for name in args.model or MODELS:
        for images in args.images or (1000, 10_000):
            text, ratio = row(name, images, args.rounds)
            ratios += [ratio] if images >= TARGET_IMAGES else []
            print(text, flush=True)
    return int(args.check and any(ratio > TARGET for ratio in ratios))


if __name__ == "__main__":
    sys.exit(main())
