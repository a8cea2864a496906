"""How long transform, tracing and naming take, how that grows, and how much memory a trace needs.

    python tests/benchmarks/trace_time.py [--nncf PYTHON]

Prints seconds of processor time on one thread, the best of a few runs. "of NNCF" is the ratio to the time of
`create_compressed_model` of NNCF 2.9.0 for all convolutions of the same model at 224 x 224. As one machine
may be twice as fast as another, `--nncf` measures that in the same run, with another Python (`pip install
nncf==2.9.0 torch==2.2.2 torchvision==0.17.2 'numpy<2'`). Without it, the times of one fast machine are used.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

import fxbin
import tests.conftest  # noqa: F401  (makes torchvision importable)
from fxbin.scopes.naming import Names
from fxbin.tracing import ops_of, trace
from tests.zoo import build

NNCF_SECONDS = {"resnet18": 0.61, "resnet50": 1.64, "mobilenet_v2": 1.08, "densenet121": 4.55}
NNCF_SCRIPT = """
import logging, sys, time
import nncf, torch, torchvision
from nncf.torch import create_compressed_model
logging.disable(logging.CRITICAL)
torch.set_num_threads(1)
config = {"input_info": {"sample_size": [1, 3, 224, 224]}, "compression": {"algorithm": "binarization"}}
seconds = []
for _ in range(3):
    model = getattr(torchvision.models, sys.argv[1])()
    start = time.process_time()
    create_compressed_model(model, nncf.NNCFConfig.from_dict(config), dump_graphs=False)
    seconds.append(time.process_time() - start)
print(min(seconds))
"""
CONFIG = {"input_info": {"sample_size": [1, 3, 224, 224]}, "compression": {"algorithm": "binarization"}}


def best(run: Callable[[], Any], times: int = 3) -> float:
    """Seconds that `run` takes at its fastest."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def measure(model: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """Seconds for tracing in eval mode, and for naming all that was found."""
    found = trace(model, (x,), {}, training=False)
    ops = [op for node in found.graph.nodes for op in ops_of(node)]
    tracing = best(lambda: trace(model, (x,), {}, training=False))
    return tracing, best(lambda: Names(model, ops).listing(ops))


class Chain(nn.Module):
    """A long row of convolutions with operators between them."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2, 2, 1) for _ in range(length))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The row."""
        for layer in self.layers:
            x = torch.relu(layer(x) + x)
        return x


class Row(Chain):
    """The same around code that looks at content, so that each convolution is a graph of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The row."""
        for layer in self.layers:
            if x.sum() > -1e9:
                x = torch.relu(layer(x) + x)
        return x


def transform_seconds(model: nn.Module, x: torch.Tensor, times: int = 3) -> float:
    """Seconds for all that `transform` does, copying the model included."""
    return best(lambda: fxbin.transform(model, CONFIG, example_inputs=(x,)), times)


def nncf_seconds(name: str, python: str | None) -> float:
    """Seconds that NNCF takes for the same: measured with that interpreter, or known from another machine."""
    if python is None:
        return NNCF_SECONDS[name]
    printed = subprocess.run(
        [python, "-c", NNCF_SCRIPT, name], capture_output=True, check=True, text=True
    ).stdout
    return float(printed.splitlines()[-1])


def memory_of_a_trace(name: str) -> float:
    """MB above those of a process that has imported everything, at most, in building and tracing on meta."""
    read, write = os.pipe()
    if os.fork() == 0:
        before = _peak_megabytes()
        with torch.device("meta"):
            model = build("torchvision", name)
        trace(model, (torch.zeros(1, 3, 224, 224, device="meta"),), {}, training=False)
        os.write(write, str(_peak_megabytes() - before).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return float(pipe.read())


def _peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nncf", metavar="PYTHON", help="an interpreter that has NNCF 2.9.0")
    python = parser.parse_args().nncf
    torch.set_num_threads(1)
    for name in ("resnet50", "densenet121", "vit_h_14"):
        print(f"{name} on the meta device: {memory_of_a_trace(name):.0f} MB for building and tracing it")
    x = torch.zeros(1, 3, 224, 224)
    for name in NNCF_SECONDS:
        known = nncf_seconds(name, python)
        model = build("torchvision", name)
        seconds = transform_seconds(model, x)
        tracing, naming = measure(model, x)
        names = best(lambda model=model: fxbin.node_names(model, CONFIG))  # type: ignore[misc]
        print(
            f"{name}: transform {seconds:.2f} s, {seconds / known:.0%} of NNCF's {known:.2f} s; "
            f"node_names {names:.2f} s, {names / known:.0%}; "
            f"naming {naming / tracing:.0%} of a trace of {tracing:.2f} s"
        )
    small = torch.zeros(1, 2, 4, 4)
    for kind, words, lengths in ((Chain, "in a chain", (400, 4000)), (Row, "in parts", (100, 800))):
        short, long = (transform_seconds(kind(length), small, 1) for length in lengths)
        print(
            f"{lengths[0]} convolutions {words}: {short:.2f} s; {lengths[1]}: {long:.2f} s, "
            f"{long / short:.1f} times as long"
        )


if __name__ == "__main__":
    main()
