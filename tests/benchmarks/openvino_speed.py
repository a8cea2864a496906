"""Times networks in OpenVINO and prints the tables of docs/deployment.md, in Markdown.

    python tests/benchmarks/openvino_speed.py
    python tests/benchmarks/openvino_speed.py ResNet18 --rounds 30 --results runs/speed

With a folder for results, networks can be timed in several runs: the tables contain all results in it.

Weights are untrained; thresholds, scales and BatchNorm statistics are random; each file is verified before it
is timed. It measures processor time on one thread, and stops if the machine is busy with other programs.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

import fxbin
import tests.conftest  # noqa: F401  (makes torchvision importable)
from fxbin.binarized.module import BinarizedModule
from fxbin.export import ExportMode, ExportReport, export_onnx
from fxbin.openvino import VerifyReport
from fxbin.runtimes import BenchmarkReport
from fxbin.train.model_spec import build_model
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
    Case("timm:dla34", lambda: build_model("timm:dla34"), "first"),
)


@dataclass(frozen=True)
class Result:
    """The rows of one network in the tables, as cells, and where they come from."""

    name: str
    where: str
    speed: tuple[str, ...]
    counts: tuple[str, ...]


def measure(case: Case, rounds: int) -> Result:
    """Export, verify and time one network."""
    model = case.binarized()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        exported = export_onnx(model, path)
        verified = fxbin.openvino.verify(model, path)
    timed = fxbin.benchmark(model, runtimes=["openvino"], int8=True, rounds=rounds)
    print(f"{case.name}\n{verified}\n{timed}\n", file=sys.stderr)
    version = timed.versions["openvino"].partition("-")[0]
    where = f"OpenVINO {version} on {timed.device}, one thread, hint f32"
    return Result(case.name, where, speed_row(timed), count_row(case, exported, verified, timed))


def speed_row(timed: BenchmarkReport) -> tuple[str, ...]:
    """Median time of each form, and how many times faster than the first one."""
    cells = []
    for timing in timed.timings:
        cells.append(f"{timing.median * 1e3:.2f}")
        if timing.name != "float32":
            cells.append(f"{timed.speedup(timing):.2f}")
    return tuple(cells)


def count_row(
    case: Case, exported: ExportReport, verified: VerifyReport, timed: BenchmarkReport
) -> tuple[str, ...]:
    """What runs in 1 bit and what not, the largest difference to PyTorch, and sizes."""
    reasons = Counter(
        "groups" if "groups" in site.reason else site.reason
        for site in exported.sites
        if site.mode is not ExportMode.ONE_BIT
    )
    difference = max(output.difference for output in verified.outputs)
    largest = max(output.allowed for output in verified.outputs) / 1e-4
    sizes = [exported.size, *(timing.size for timing in timed.timings[-2:])]
    return (
        case.ignored,
        f"{verified.found} of {len(exported.sites)}",
        ", ".join(f"{count}: {reason}" for reason, count in reasons.items()),
        f"{difference:.0e} of {largest:.0e}",
        *(f"{size / 1e6:.2f}" for size in sizes),
    )


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="beginnings of names; all by default")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--results", type=Path, help="folder to keep results in, and to take others from")
    parser.add_argument("--any-load", action="store_true", help="run on a busy machine, too")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    if load > MAX_LOAD and not arguments.any_load:
        sys.exit(f"the load average is {load:.1f}: wait until it is below {MAX_LOAD}")
    chosen = [case for case in CASES if not arguments.names or case.name.startswith(tuple(arguments.names))]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.results or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for case in chosen:
            text = json.dumps(asdict(measure(case, arguments.rounds)), indent=2)
            file_of(case, folder).write_text(text, encoding="utf-8")
        files = [file for case in CASES if (file := file_of(case, folder)).exists()]
        print_tables([Result(**json.loads(file.read_text(encoding="utf-8"))) for file in files])


def file_of(case: Case, folder: Path) -> Path:
    """Where the result of a network is kept."""
    return folder / f"{re.sub('[^A-Za-z0-9]+', '-', case.name)}.json"


def print_tables(results: list[Result]) -> None:
    """Print all `results` in Markdown."""
    print("\n".join(dict.fromkeys(result.where for result in results)) + "\n")
    ratios = [f"{form}, ms | ratio" for form in ("int8", "1 bit", "1 bit and int8")]
    print(f"| network | float32, ms | {' | '.join(ratios)} |")
    print("| --- |" + " ---: |" * 7)
    for result in results:
        print(f"| {' | '.join((result.name, *result.speed))} |")
    sizes = [f"{form}, MB" for form in ("ONNX", "IR", "IR with int8")]
    print(f"\n| network | not binarized | in 1 bit | in float | difference | {' | '.join(sizes)} |")
    print("| --- | --- | --- | --- | --- |" + " ---: |" * 3)
    for result in results:
        print(f"| {' | '.join((result.name, *result.counts))} |")


if __name__ == "__main__":
    main()
