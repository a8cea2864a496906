"""Traces models of the zoos and compares their graphs with them, bit for bit.

    python tests/benchmarks/zoo_trace.py torchvision timm pytorchcv
    python tests/benchmarks/zoo_trace.py torchvision:resnet18 timm:resnet50

Traced at batch 1 and run at batch 2: outputs in eval mode; outputs, buffers and gradients in train
mode under one seed. Prints one line a model that differs or fails, then the counts.
"""

import argparse
import copy
import json
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten

sys.path.insert(0, str(Path(__file__).parents[2]))

import tests.conftest  # noqa: F401  (makes torchvision importable)
from fxbin.tracing import trace
from tests.zoo import build


def graph_module(root: nn.Module, inputs: tuple[Any, ...], *, training: bool) -> fx.GraphModule:
    """`root` as its graph, around the same parameters."""
    traced = trace(root, inputs, {}, training=training)
    vars(root).update(traced.homeless)  # a graph module copies from its root what the graph refers to
    module = fx.GraphModule(root, traced.graph)
    for name in traced.homeless:
        del vars(root)[name]
    return module


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in what a model returns."""
    yield from (leaf for leaf in tree_flatten(value)[0] if isinstance(leaf, Tensor))


def same(left: Any, right: Any) -> bool:
    """Whether both hold equal tensors, NaN included."""
    pairs = list(zip(tensors(left), tensors(right), strict=True))
    return bool(pairs) and all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)


def step(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, list[Tensor], list[Tensor]]:
    """One training step: outputs, gradients, buffers."""
    torch.manual_seed(0)
    output = model(*inputs)
    losses = [out.float().sum() for out in tensors(output) if out.requires_grad]
    torch.stack(losses).sum().backward()
    grads = [p.grad if p.grad is not None else torch.zeros(()) for p in model.parameters()]
    return output, grads, [*model.buffers()]


def check(model: nn.Module, size: tuple[int, ...], *, train: bool) -> str:
    """Empty if graph and model agree; what differs otherwise."""
    example = (torch.zeros(1, *size),)
    torch.manual_seed(1)
    inputs = (torch.rand(2, *size),)
    with torch.no_grad():
        model.eval()
        graph = graph_module(model, example, training=False).eval()
        if not same(model(*inputs), graph(*inputs)):
            return "eval output differs"
    if not train:
        return ""
    reference = copy.deepcopy(model).train()
    graph = graph_module(model.train(), example, training=True).train()
    try:
        expected = step(reference, inputs)
    except ValueError as error:
        return "" if "more than 1 value per channel" in str(error) else f"original: {error}"
    found = step(graph, inputs)
    named = dict(graph.named_parameters())
    grads = [named[name].grad for name, _ in reference.named_parameters()]
    wanted = [p.grad for p in reference.parameters()]
    if not same(expected[0], found[0]):
        return "train output differs"
    if not same([g for g in wanted if g is not None], [g for g in grads if g is not None]):
        return "gradients differ"
    buffers = dict(graph.named_buffers())
    if not same(
        [torch.zeros(1), *reference.buffers()],
        [torch.zeros(1), *(buffers[n] for n, _ in reference.named_buffers())],
    ):
        return "buffers differ"
    return ""


def input_size(library: str, name: str, model: nn.Module) -> tuple[int, ...]:
    """Channels, height and width that `model` is made for."""
    if library == "timm":
        size: tuple[int, ...] = getattr(model, "pretrained_cfg", {}).get("input_size", (3, 224, 224))
        return size
    if library == "pytorchcv":
        channels = getattr(model, "in_channels", 3)
        height, width = getattr(model, "in_size", (224, 224))
        return (channels, height, width)
    if "vit_h" in name:
        return (3, 224, 224)
    return (3, 299, 299) if "inception" in name else (3, 64, 64) if "seg" in name else (3, 224, 224)


def main() -> None:
    """Check the models that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="library:name")
    parser.add_argument("--no-train", action="store_true")
    parser.add_argument("--list", type=Path, help="JSON file {library: [name]} to choose from")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    listed = json.loads(args.list.read_text()) if args.list else {}
    wanted = [spec if ":" in spec else [f"{spec}:{name}" for name in listed[spec]] for spec in args.models]
    specs = [spec for group in wanted for spec in ([group] if isinstance(group, str) else group)]
    good = 0
    for spec in specs:
        library, _, name = spec.partition(":")
        signal.alarm(120)
        try:
            torch.manual_seed(0)
            model = build(library, name)
            problem = check(model, input_size(library, name, model), train=not args.no_train)
        except Exception as error:  # noqa: BLE001  (whatever a model does is a line in the table)
            problem = f"{type(error).__name__}: {error}".replace("\n", " ")[:500]
        finally:
            signal.alarm(0)
        good += not problem
        if problem:
            print(f"{spec}: {problem}", flush=True)
    print(f"{good} of {len(specs)}")


def timed_out(*_: object) -> None:
    raise TimeoutError("longer than two minutes")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, timed_out)
    main()
