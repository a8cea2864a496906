"""The time of tracing, naming and transforming, compared with torch.fx on the same model in the same run.

    python tests/benchmarks/compile_cost.py            # needs torchvision
    python tests/benchmarks/compile_cost.py --runs 9

Prints medians in milliseconds and ratios; the last lines show how the cost grows with the length of a chain
and how much memory the trace of a model without data takes.
"""

import argparse
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

sys.path.insert(0, str(Path(__file__).parents[2]))
import fxbin
import tests.conftest  # noqa: F401  (makes torchvision import)
from fxbin.scopes.naming import Names
from fxbin.tracing import ops_of, trace

MODELS = ("resnet18", "resnet50", "mobilenet_v2", "densenet121")
NNCF_SECONDS = {"resnet18": 0.61, "resnet50": 1.64, "mobilenet_v2": 1.08, "densenet121": 4.55}
"""`create_compressed_model` of NNCF 2.9.0 (torch 2.2.2, one thread, another machine): for orientation."""

CONFIG = {
    "input_info": {"sample_size": [1, 3, 224, 224]},
    "compression": {"algorithm": "binarization"},
}


def median_ms(function: Callable[[], Any], runs: int) -> float:
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def naming_ms(model: nn.Module, example: tuple[torch.Tensor], runs: int) -> float:
    """Time to turn what a trace recorded into names."""
    traced = trace(model, example, {}, training=False)
    ops = [op for node in traced.graph.nodes for op in ops_of(node)]

    def name() -> None:
        names = Names(model, ops)
        for op in ops:
            names.name(op)

    return median_ms(name, runs)


def chain(length: int) -> nn.Module:
    return nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(length)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    import torchvision

    example = (torch.ones(1, 3, 224, 224),)
    print("model           fx ms   trace ms  naming/trace  node_names ms  transform ms  of NNCF's")
    for name in MODELS:
        model = torchvision.models.get_model(name, weights=None)
        of_fx = median_ms(partial(fx.symbolic_trace, model), runs)
        traced = median_ms(partial(trace, model, example, {}, training=False), runs)
        naming = naming_ms(model, example, runs)
        names = median_ms(partial(fxbin.node_names, model, CONFIG), runs)
        whole = median_ms(partial(fxbin.transform, model, CONFIG), runs)
        print(
            f"{name:14} {of_fx:6.0f}  {traced:8.0f}  {naming / traced:12.2f}  {names:13.0f}  {whole:12.0f}"
            f"  {whole / 1000 / NNCF_SECONDS[name]:9.2f}"
        )

    small = {"input_info": {"sample_size": [1, 4, 8, 8]}, "compression": {"algorithm": "binarization"}}
    short, long = (
        median_ms(partial(fxbin.transform, chain(n), small), max(1, runs // 2)) for n in (400, 4000)
    )
    print(f"chain of 4000 convolutions / of 400: {long / short:.1f} times the time ({short:.0f} ms)")

    with torch.device("meta"):
        large = nn.Sequential(*(nn.Conv2d(1024, 1024, 3, padding=1) for _ in range(30)))
    tracemalloc.start()
    trace(large, (torch.ones(1, 1024, 8, 8, device="meta"),), {}, training=False)
    peak = tracemalloc.get_traced_memory()[1]
    size = sum(p.numel() * p.element_size() for p in large.parameters())
    print(f"peak memory of a trace: {peak / 1e6:.1f} MB for a model of {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
