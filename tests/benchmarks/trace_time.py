"""How long tracing and naming take, and how that grows.

    python tests/benchmarks/trace_time.py

The best of a few runs on one thread. "of NNCF" compares with what NNCF 2.9.0 took to trace and name the
same model on a comparable machine: 4.55 s for densenet121.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

import tests.conftest  # noqa: F401  (makes torchvision importable)
from fxbin.scopes.naming import Names
from fxbin.tracing import ops_of, trace
from tests.zoo import build

NNCF_SECONDS = {"densenet121": 4.55}


def best(run: Callable[[], Any], times: int = 3) -> float:
    """Seconds that `run` takes at its fastest."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
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


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    for name in ("resnet18", "resnet50", "mobilenet_v2", "densenet121"):
        tracing, naming = measure(build("torchvision", name), torch.zeros(1, 3, 224, 224))
        known = NNCF_SECONDS.get(name)
        ratio = f", {(tracing + naming) / known:.1%} of NNCF" if known else ""
        print(f"{name}: tracing {tracing:.3f} s, naming {naming / tracing:.1%} of it{ratio}")
    short, _ = measure(Chain(400), torch.zeros(1, 2, 4, 4))
    long, _ = measure(Chain(4000), torch.zeros(1, 2, 4, 4))
    print(
        f"chain of 400 convolutions: {short:.2f} s; of 4000: {long:.2f} s, {long / short:.1f} times as long"
    )


if __name__ == "__main__":
    main()
