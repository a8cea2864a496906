"""The table of presets in docs/presets.md, and the plot beside it: accuracy, size and speed of each.

    python tests/benchmarks/presets.py --train reactnet --seed 0    # one run, 5 minutes (large: 20)
    python tests/benchmarks/presets.py                              # writes the table and the plot
    python tests/benchmarks/presets.py --check                      # exits 1 where a target is missed

Accuracies are those of tests/benchmarks/accuracy.py, which accuracy_runs.py keeps: the mean over the seeds
that are there, half of the spread if there are several, and their number. Everything else is measured when
the table is written, on the network of the small protocol after its first batch, with one thread:
parameters; size of the ONNX file with packed weights; time for one picture of the deployed network; time of
an epoch of training (its steps alone), and of a step compared with that of NNCF's settings; all presets in
turns, each time after one that does not count, medians.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.config.preset import preset_names
from fxbin.train.build import model_of
from tests.benchmarks import accuracy_runs
from tests.benchmarks.accuracy import FULL_PRECISION, PROTOCOLS, config_for

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/presets.md"
PLOT = ROOT / "docs/images/presets.svg"
PICTURE = f"![Accuracy over the time for one picture](images/{PLOT.name})"
MARKS = "<!-- begin: tests/benchmarks/presets.py -->\n", "<!-- end: tests/benchmarks/presets.py -->"
"""Lines of the page between which the table is."""

SETTINGS = (FULL_PRECISION, "nncf", *(name for name in preset_names() if name != "nncf"))
BATCH = 64
STEPS = 94
"""Steps of an epoch of the small protocol."""

LONGER = "recommended, longer teacher"
"""Name of the row for `recommended` with ``--teacher longer``: the same network with other accuracies."""

CHANGES_OF_LONGER = {"small": [], "large": ["compression.params.base_lr=8e-3"]}
"""What else differs in each protocol, as accuracy.py takes it; chosen on the validation images."""

TITLES = ("preset", "small protocol, %", "large protocol, %", "parameters", "file, KB", "ms a picture")
LARGEST_STEP = 1.10
SMALLEST_ACCURACY = 88.0
LARGEST_LOSS = 1.5
"""Targets of `recommended`: its training step as a multiple of NNCF's; its accuracy in the small protocol, in
per cent; and how far it is below full precision in the large one, in points."""


@dataclass(frozen=True)
class Row:
    """What was measured of one preset."""

    name: str
    accuracies: dict[str, list[float]]
    """Per cent right of the test images by protocol, one number a seed."""

    parameters: int
    file_size: int
    """Bytes."""

    picture: float
    """Seconds."""

    step: float
    """Seconds."""

    def title(self) -> str:
        """The first cell: the preset as in a config, and what else was changed."""
        if self.name == FULL_PRECISION:
            return "full precision"
        preset, comma, change = self.name.partition(",")
        return f"`{preset}`{comma}{change}"

    def line(self, of_nncf: float) -> str:
        """The line of the table; `of_nncf` is the time of a step with NNCF's settings."""
        cells = [
            self.title(),
            *(shown(self.accuracies[protocol]) for protocol in PROTOCOLS),
            f"{self.parameters:,}".replace(",", " "),
            f"{self.file_size / 1e3:.0f}",
            f"{1e3 * self.picture:.2f}",
            f"{STEPS * self.step:.1f}",
            f"{self.step / of_nncf:.2f}",
        ]
        return f"| {' | '.join(cells)} |"


def train(arguments: argparse.Namespace) -> None:
    """Run accuracy.py for one preset and seed, and keep the result."""
    result = arguments.runs / f"{arguments.protocol}_{arguments.train}_{arguments.seed}.json"
    command = [sys.executable, str(Path(__file__).with_name("accuracy.py"))]
    options = {"config": arguments.train, "protocol": arguments.protocol, "seed": arguments.seed}
    command += [f"--{key}={value}" for key, value in options.items()]
    command += [f"--cache={arguments.runs}", f"--json={result}"]
    subprocess.run([*command, *(["--validation"] if arguments.validation else [])], check=True)
    accuracy_runs.add([result])


def shown(values: list[float]) -> str:
    """Mean, half of the spread, and number; one value has no spread."""
    if not values:
        return "-"
    spread = f" ± {(max(values) - min(values)) / 2:.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread} ({len(values)})"


def network(name: str) -> nn.Module:
    """The network of a preset in its last stage, after its first batch; or before `transform`."""
    config = config_for(name, [], seed=0, threads=1)
    model = model_of(config)
    if name == FULL_PRECISION:
        return model
    binarized = fxbin.transform(model, config)
    binarized.binarization.enable(activations=True, weights=True)
    binarized(torch.rand(BATCH, 1, 28, 28))
    return binarized


def in_turns(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of each run in seconds, directly after one of the same that does not count.

    In a training, too, a step follows one of the same network: caches and the memory that the allocator keeps
    are those of this network, and not of the one before.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(own) for name, own in times.items()}


def step_of(model: nn.Module) -> Callable[[], None]:
    """A training step of `model`."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.rand(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def picture_of(model: nn.Module) -> Callable[[], Any]:
    """One picture through `model`, or its deployed form."""
    deployed = fxbin.deploy(model) if isinstance(model, BinarizedModule) else model
    deployed = deployed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(1, 1, 28, 28).to(memory_format=torch.channels_last)
    return torch.inference_mode()(lambda: deployed(x))


def file_size(model: nn.Module) -> int:
    """Bytes of the exported file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        if isinstance(model, BinarizedModule):
            fxbin.export_onnx(model, path)
        else:
            torch.onnx.export(model, (torch.rand(1, 1, 28, 28),), path, external_data=False, verbose=False)
        return path.stat().st_size


def keep_freed_memory() -> None:
    """Let this process keep what a step frees, as `fxbin train` does once it has loaded its data.

    glibc gives freed memory back to the system above twice the largest block that was freed so far, of at
    most 32 MiB, and fetches it again page by page in the next step (mallopt(3), M_MMAP_THRESHOLD).
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def measured(rounds: int) -> list[Row]:
    """All presets, in turns."""
    torch.set_num_threads(1)
    keep_freed_memory()
    networks = {name: network(name) for name in SETTINGS}
    steps = in_turns({name: step_of(model) for name, model in networks.items()}, rounds)
    pictures = in_turns({name: picture_of(model.eval()) for name, model in networks.items()}, 20 * rounds)
    rows = [
        Row(
            name,
            {protocol: accuracies(protocol, name) for protocol in PROTOCOLS},
            sum(parameter.numel() for parameter in model.parameters()),
            file_size(model),
            pictures[name],
            steps[name],
        )
        for name, model in networks.items()
    ]
    index = SETTINGS.index("recommended")
    of_longer = {protocol: accuracies_of_longer(protocol) for protocol in PROTOCOLS}
    rows.insert(index + 1, replace(rows[index], name=LONGER, accuracies=of_longer))
    return rows


def accuracies(protocol: str, name: str) -> list[float]:
    """Per cent right of the test images, of all runs of a preset."""
    key = "full_precision" if name == FULL_PRECISION else "binarized"
    return accuracy_runs.accuracies(protocol, name, key)


def accuracies_of_longer(protocol: str) -> list[float]:
    """The same of `recommended` with the longer teacher."""
    changes = CHANGES_OF_LONGER[protocol]
    return accuracy_runs.accuracies(protocol, "recommended", "binarized", teacher="longer", changes=changes)


def table(rows: list[Row]) -> list[str]:
    """The lines of the table."""
    titles = [*TITLES, "s an epoch", "training step, of NNCF's"]
    of_nncf = next(row.step for row in rows if row.name == "nncf")
    return [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|", *(row.line(of_nncf) for row in rows)]


def write_table(lines: list[str]) -> None:
    """Put the table and the picture of the plot into the page."""
    begin, end = MARKS
    text = PAGE.read_text(encoding="utf-8")
    block = begin + "\n".join([*lines, "", PICTURE]) + "\n" + end
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    assert pattern.search(text), f"{PAGE} lacks the lines {MARKS}"
    PAGE.write_text(pattern.sub(lambda _: block, text), encoding="utf-8")


def write_plot(rows: list[Row]) -> None:
    """Draw accuracy over latency, one panel for each protocol in which presets can be compared."""
    protocols = [name for name in PROTOCOLS if sum(bool(row.accuracies[name]) for row in rows) > 1]
    figure = Figure(figsize=(4.5 * len(protocols), 3.8), layout="constrained")
    for axes, protocol in zip(figure.subplots(1, len(protocols), squeeze=False)[0], protocols, strict=True):
        shown_rows = [row for row in rows if row.accuracies[protocol]]
        shown_rows.sort(key=lambda row: statistics.mean(row.accuracies[protocol]))
        for index, row in enumerate(shown_rows):
            x, y = 1e3 * row.picture, statistics.mean(row.accuracies[protocol])
            axes.plot(x, y, "s" if row.name == FULL_PRECISION else "o", color=f"C{rows.index(row)}")
            # Neighbours have their names on different sides.
            (side, align) = (6, "left") if index % 2 else (-6, "right")
            label, offset = row.name.replace("_", " "), (side, -3)
            axes.annotate(label, (x, y), offset, textcoords="offset points", fontsize=8, ha=align)
        axes.set(title=f"{protocol} protocol", xlabel="ms a picture, one thread", ylabel="test accuracy, %")
        axes.grid(alpha=0.3)
        axes.margins(x=0.4, y=0.15)
    figure.savefig(PLOT, metadata={"Date": None})


def missed(rows: list[Row]) -> list[str]:
    """The targets that `recommended` misses."""
    by_name = {row.name: row for row in rows}
    best, nncf, float_ = by_name["recommended"], by_name["nncf"], by_name[FULL_PRECISION]
    step, small = best.step / nncf.step, statistics.mean(best.accuracies["small"])
    lost = statistics.mean(float_.accuracies["large"]) - statistics.mean(best.accuracies["large"])
    checks = {
        f"training step {step:.2f} of NNCF's, at most {LARGEST_STEP}": step <= LARGEST_STEP,
        f"small protocol {small:.2f} %, at least {SMALLEST_ACCURACY}": small >= SMALLEST_ACCURACY,
        f"large protocol {lost:.2f} points below full precision, at most {LARGEST_LOSS}": lost
        <= LARGEST_LOSS,
    }
    return [text for text, holds in checks.items() if not holds]


def main() -> None:
    """Parse the command line; train, or measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", choices=SETTINGS, help="run the protocol for this preset")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation", action="store_true", help="leave the test images alone")
    parser.add_argument("--runs", type=Path, default=Path("runs/presets"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 where a target is missed"
    )
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments)
        return
    rows = measured(arguments.rounds)
    lines = table(rows)
    print("\n".join(lines))
    if arguments.check:
        failures = missed(rows)
        print("\n".join(f"missed: {text}" for text in failures))
        sys.exit(bool(failures))
    write_table(lines)
    write_plot(rows)


if __name__ == "__main__":
    main()
