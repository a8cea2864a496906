"""How the time of `fxbin report` grows with the number of convolutions.

    python tests/benchmarks/report_time.py                     # 100 to 1 000 convolutions
    python tests/benchmarks/report_time.py 100 200 --export    # with the export for OpenVINO

The networks are residual blocks of 3x3 convolutions with 4 channels, so nearly all of the time is Python's.
Prints seconds of CPU time, one thread: `transform`; the summary; what each runtime will run in 1 bit;
histograms of activations; the page; with `--export`, `export_onnx`, which a benchmark in OpenVINO calls
twice.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))
import fxbin
from fxbin.report.activations import activation_histograms
from fxbin.report.page.content import content_of
from fxbin.report.page.whole_page import page
from fxbin.report.summarize import planned
from fxbin.report.target import Target

CONFIG = {"input_info": {"sample_size": [1, 4, 8, 8]}, "compression": {"algorithm": "binarization"}}
BLOCKS = 5
"""Blocks in a stage."""


class Block(nn.Module):
    """Two convolutions with norms, and a shortcut around them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


def network(convolutions: int) -> nn.Module:
    """Stages of `BLOCKS` blocks, of two convolutions each."""
    stages = convolutions // (2 * BLOCKS)
    return nn.Sequential(*(nn.Sequential(*(Block() for _ in range(BLOCKS))) for _ in range(stages)))


def seconds(function: Callable[[], Any]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def row(convolutions: int, *, export: bool) -> list[float]:
    """The figures for one network."""
    net, x = network(convolutions), torch.randn(2, 4, 8, 8)
    made: list[Any] = []
    times = [seconds(lambda: made.append(fxbin.transform(net, CONFIG)))]
    (model,) = made
    model.binarization.enable(activations=True, weights=True)
    times.append(seconds(lambda: fxbin.summary(model)))
    times.append(seconds(lambda: [planned(model, target) for target in get_args(Target)]))
    times.append(seconds(lambda: activation_histograms(model, (x,))))
    content = content_of(model)
    times.append(seconds(lambda: page(content)))
    if export:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            times.append(seconds(lambda: fxbin.export_onnx(model, Path(folder) / "model.onnx")))
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("convolutions", type=int, nargs="*", default=[100, 200, 400, 1000])
    parser.add_argument("--export", action="store_true", help="time `export_onnx` as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    row(2 * BLOCKS, export=options.export)  # untimed: what the first call of each loads and builds
    titles = ["convolutions", "transform", "summary", "runtimes", "histograms", "page"]
    titles += ["export"] if options.export else []
    print("| " + " | ".join(titles) + " |")
    print("| ---: " * len(titles) + "|")
    for count in options.convolutions:
        times = row(count, export=options.export)
        print(f"| {count} | " + " | ".join(f"{each:.2f}" for each in times) + " |", flush=True)


if __name__ == "__main__":
    main()
