"""The table of presets in docs/presets.md: accuracy, size and speed of each.

    python tests/benchmarks/presets.py --train reactnet --seed 0    # one run, about 10 minutes
    python tests/benchmarks/presets.py                              # the table of all runs

Accuracies are those of tests/benchmarks/accuracy.py, which writes each run into --runs: the mean over the
seeds that are there, half of the spread, and their number. Everything else is measured when the table is
printed, on the network of the small protocol after its first batch: parameters; size of the ONNX file with
packed weights; time for one picture of the deployed network, one thread; time of a training step compared
with that of NNCF's settings, all presets in turns, medians.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.config.preset import preset_names
from fxbin.train.build import model_of
from tests.benchmarks.accuracy import PROTOCOLS, config_for

SETTINGS = ("nncf", *(name for name in preset_names() if name != "nncf"))
BATCH = 64


def train(arguments: argparse.Namespace) -> None:
    """Run accuracy.py for one preset and seed."""
    name = f"{arguments.protocol}_{arguments.train}_{arguments.seed}.json"
    command = [sys.executable, str(Path(__file__).with_name("accuracy.py"))]
    options = {"config": arguments.train, "protocol": arguments.protocol, "seed": arguments.seed}
    command += [f"--{key}={value}" for key, value in options.items()]
    command += [f"--cache={arguments.runs}", f"--json={arguments.runs / name}"]
    subprocess.run([*command, *(["--validation"] if arguments.validation else [])], check=True)


def accuracies(runs: Path, protocol: str, name: str) -> list[float]:
    """Per cent right in each run, on the test images; on the validation images where these were not used."""
    found = [json.loads(path.read_text()) for path in sorted(runs.glob(f"{protocol}_{name}_*.json"))]
    return [(run["test"] or run["validation"])["binarized"] for run in found]


def shown(values: list[float]) -> str:
    """Mean, half of the spread, and number."""
    if not values:
        return "-"
    return f"{statistics.mean(values):.2f} ± {(max(values) - min(values)) / 2:.2f} ({len(values)})"


def network(name: str) -> BinarizedModule:
    """The network of a preset in its last stage, after its first batch."""
    config = config_for(name, [], seed=0, threads=1)
    binarized = fxbin.transform(model_of(config), config)
    assert isinstance(binarized, BinarizedModule)
    binarized.binarization.enable(activations=True, weights=True)
    binarized(torch.rand(BATCH, 1, 28, 28))
    return binarized


def in_turns(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of each run in seconds, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if round_:
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


def pictures_of(model: BinarizedModule) -> Callable[[], Any]:
    """One picture through the deployed form of `model`."""
    deployed = fxbin.deploy(model)
    x = torch.rand(1, 1, 28, 28).to(memory_format=torch.channels_last)
    return torch.inference_mode()(lambda: deployed(x))


def file_size(model: BinarizedModule) -> int:
    """Bytes of the exported file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        fxbin.export_onnx(model, path)
        return path.stat().st_size


def table(runs: Path, rounds: int) -> Iterator[str]:
    """The lines of the table."""
    torch.set_num_threads(1)
    networks = {name: network(name) for name in SETTINGS}
    steps = in_turns({name: step_of(model) for name, model in networks.items()}, rounds)
    deployed = {name: pictures_of(model.eval()) for name, model in networks.items()}
    pictures = in_turns(deployed, 20 * rounds)
    titles = [f"{protocol} protocol, %" for protocol in PROTOCOLS]
    yield f"| preset | {' | '.join(titles)} | parameters | file, KB | ms a picture | training step |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, model in networks.items():
        cells = [
            *(shown(accuracies(runs, protocol, name)) for protocol in PROTOCOLS),
            f"{sum(p.numel() for p in model.parameters()):,}",
            f"{file_size(model) / 1e3:.0f}",
            f"{1e3 * pictures[name]:.2f}",
            f"{steps[name] / steps['nncf']:.2f}",
        ]
        yield f"| `{name}` | {' | '.join(cells)} |"


def main() -> None:
    """Parse the command line; train, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", choices=SETTINGS, help="run the protocol for this preset")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation", action="store_true", help="leave the test images alone")
    parser.add_argument("--runs", type=Path, default=Path("runs/presets"))
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments)
        return
    for line in table(arguments.runs, arguments.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
