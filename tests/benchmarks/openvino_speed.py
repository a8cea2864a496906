"""Times networks in OpenVINO and prints the tables of docs/deployment.md, in Markdown.

    python tests/benchmarks/openvino_speed.py
    python tests/benchmarks/openvino_speed.py ResNet18 U-Net --rounds 30

Untrained weights, random thresholds, scales and BatchNorm statistics; each file is verified before it is
timed. One thread, processor time. Refuses a busy machine, as other programs take caches and memory away.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

import fxbin
import tests.conftest  # noqa: F401  (makes torchvision importable)
from fxbin.export import ExportMode, ExportReport, export_onnx
from fxbin.model_spec import build_model
from fxbin.module import BinarizedModule
from fxbin.openvino import BenchmarkReport, VerifyReport
from tests.binarizing import as_if_trained

CONFIGS = Path(__file__).parents[2] / "configs"
MAX_LOAD = 1.5
SIZE = (1, 3, 224, 224)


class UNet(nn.Module):
    """Three levels down, three up, with concatenated shortcuts; a class for each pixel."""

    def __init__(self, classes: int = 21, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            block(before, after) for before, after in zip((3, *widths), widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(after, before, 2, 2) for before, after in pairwise(widths))
        self.join = nn.ModuleList(block(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        shortcuts = []
        for down in self.down[:-1]:
            x = down(x)
            shortcuts.append(x)
            x = self.pool(x)
        x = self.down[-1](x)
        for up, join, shortcut in zip(
            reversed(self.up), reversed(self.join), reversed(shortcuts), strict=True
        ):
            x = join(torch.cat([up(x), shortcut], 1))
        y: Tensor = self.head(x)
        return y


def block(before: int, after: int) -> nn.Sequential:
    """Two 3x3 convolutions with BatchNorm and ReLU."""
    return nn.Sequential(
        *(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)),
        *(nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)),
    )


@dataclass(frozen=True)
class Case:
    """One network and what of it stays in full precision."""

    name: str
    make: Callable[[], nn.Module]
    ignored: str
    """What the table says about it."""

    config: str | None = None
    patterns: tuple[str, ...] = ()

    def binarized(self) -> BinarizedModule:
        """The network with its first convolution, and what `patterns` match, in full precision."""
        torch.manual_seed(0)
        model = self.make()
        if self.config is not None:
            return as_if_trained(fxbin.transform(model, CONFIGS / self.config))
        config: dict[str, Any] = {
            "input_info": {"sample_size": list(SIZE)},
            "compression": {"algorithm": "binarization"},
        }
        first = next(name for name, op in fxbin.node_names(model, config) if op == "conv2d")
        config["ignored_scopes"] = [first, *self.patterns]
        return as_if_trained(fxbin.transform(model, config))


CASES = (
    Case(
        "ResNet18",
        lambda: build_model("torchvision:resnet18"),
        "first, shortcuts (the shipped config)",
        config="resnet18_imagenet_xnor.json5",
    ),
    Case(
        "ResNet50",
        lambda: build_model("torchvision:resnet50"),
        "first, shortcuts",
        patterns=(r"{re}\[downsample\]",),
    ),
    Case("VGG16-BN", lambda: build_model("torchvision:vgg16_bn"), "first"),
    Case("MobileNetV2", lambda: build_model("torchvision:mobilenet_v2"), "first"),
    Case("U-Net, 32 to 256 channels", UNet, "first, last", patterns=(r"{re}\[head\]",)),
    Case("timm:repvgg_a0", lambda: build_model("timm:repvgg_a0"), "first"),
)


@dataclass(frozen=True)
class Result:
    """All that was found about one network."""

    case: Case
    exported: ExportReport
    verified: VerifyReport
    timed: BenchmarkReport

    def speed_row(self) -> str:
        """A row of the table of times."""
        cells = [self.case.name]
        for timing in self.timed.timings:
            cells.append(f"{timing.median * 1e3:.2f}")
            if timing.name != "float32":
                cells.append(f"{self.timed.speedup(timing):.1f}")
        return " | ".join(cells)

    def count_row(self) -> str:
        """A row of the table of what runs in 1 bit."""
        reasons = Counter(
            "groups" if "groups" in site.reason else site.reason
            for site in self.exported.sites
            if site.mode is not ExportMode.ONE_BIT
        )
        difference = max(output.difference for output in self.verified.outputs)
        largest = max(output.allowed for output in self.verified.outputs) / 1e-4
        sizes = [timing.size for timing in self.timed.timings[-2:]]
        return " | ".join(
            [
                self.case.name,
                self.case.ignored,
                f"{self.verified.found} of {len(self.exported.sites)}",
                ", ".join(f"{count}: {reason}" for reason, count in reasons.items()) or "",
                f"{difference:.0e} of {largest:.0e}",
                *(f"{size / 1e6:.2f}" for size in (self.exported.size, *sizes)),
            ]
        )


def results(cases: list[Case], rounds: int) -> Iterator[Result]:
    """Export, verify and time one network after the other."""
    for case in cases:
        model = case.binarized()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            exported = export_onnx(model, path)
            verified = fxbin.openvino.verify(model, path)
        timed = fxbin.openvino.benchmark(model, int8=True, rounds=rounds)
        print(f"{case.name}\n{verified}\n{timed}\n", file=sys.stderr)
        yield Result(case, exported, verified, timed)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="beginnings of names; all by default")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--any-load", action="store_true", help="run on a busy machine, too")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    if load > MAX_LOAD and not arguments.any_load:
        sys.exit(f"the load average is {load:.1f}: wait until it is below {MAX_LOAD}")
    chosen = [case for case in CASES if not arguments.names or case.name.startswith(tuple(arguments.names))]
    found = list(results(chosen, arguments.rounds))
    timed = found[0].timed
    print(f"OpenVINO {timed.runtime.partition('-')[0]} on {timed.device}, one thread, hint f32,")
    print(f"load average {load:.1f} before and {os.getloadavg()[0]:.1f} after.\n")
    print("| network | float32, ms | int8, ms | ratio | 1 bit, ms | ratio | 1 bit and int8, ms | ratio |")
    print("| --- |" + " ---: |" * 7)
    for result in found:
        print(f"| {result.speed_row()} |")
    print()
    print(
        "| network | not binarized | in 1 bit | in float | difference "
        "| ONNX, MB | IR, MB | IR with int8, MB |"
    )
    print("| --- | --- | --- | --- | --- |" + " ---: |" * 3)
    for result in found:
        print(f"| {result.count_row()} |")


if __name__ == "__main__":
    main()
