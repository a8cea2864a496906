"""Content of pages for tests: of a small model, and of one with as many layers as a test asks for."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

import fxbin
from fxbin.export import ExportMode, SiteExport
from fxbin.report.activations import ActivationHistogram
from fxbin.report.benchmark import BenchmarkReport, Timing
from fxbin.report.page.content import Content, content_of
from fxbin.report.page.graph_data import KINDS

HOSTILE = "<img src=x onerror=alert(1)>&"
"""A name of a module that is markup, if anything takes it for that."""


class Net(nn.Module):
    """A stem, two blocks with shortcuts, a convolution with a hostile name, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(Block(), Block())
        self.add_module(HOSTILE, nn.Conv2d(8, 8, 1))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = getattr(self, HOSTILE)(self.body(self.stem(x)))
        y: torch.Tensor = self.fc(x.mean((2, 3)))
        return y


class Block(nn.Module):
    """A convolution beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.bn(self.conv(x)))


def transformed() -> Any:
    """`Net` with all but its stem binarized."""
    config = {
        "input_info": {"sample_size": [2, 3, 8, 8]},
        "compression": {"algorithm": "binarization", "ignored_scopes": ["stem"]},
    }
    return fxbin.transform(Net(), config)


def epochs() -> list[dict[str, Any]]:
    """Four epochs of two stages, as a loop of one's own records them."""
    stages = ["full precision", "full precision", "activations", "activations"]
    return [
        {"stage": stage, "loss": 2.0 / (number + 1), "test_accuracy": 50.0 + 10 * number, "lr": 1e-3}
        for number, stage in enumerate(stages)
    ]


def timings() -> BenchmarkReport:
    """A model that takes 4 ms in float32 and 1 ms in 1 bit."""
    return BenchmarkReport(
        versions={"engine": "2.13.0"},
        device="a processor",
        threads=1,
        precision="f32",
        clock="cpu",
        shapes=((1, 3, 8, 8),),
        fired=0.25,
        timings=(
            Timing("engine", "float32", (4e-3,) * 3, 400_000, 0, 0, {}),
            Timing("engine", "1 bit", (1e-3,) * 3, 20_000, 3, 3, {}),
        ),
    )


def small_content(**changes: Any) -> Content:
    """The content of a page about `transformed`, with everything that a page may have."""
    given: dict[str, Any] = {
        "inputs": torch.randn(2, 3, 8, 8),
        "epochs": epochs(),
        "best": 2,
        "timings": timings(),
        "facts": {"held-out accuracy": "80.00 %"},
        "config": '{"model": "</pre><b>"}',
    }
    return content_of(transformed(), **given | changes)


def large_content(layers: int) -> tuple[Content, dict[str, Any]]:
    """The content and the graph of a page about a network of `layers` convolutions, in blocks of ten."""
    content = small_content()
    row = next(row for row in content.rows if row.site.binarized)
    planned = SiteExport("", ExportMode.ONE_BIT, enabled=True, reason="")
    rows, histograms = [], []
    for number in range(layers):
        entry = f"stages.{number // 10}.{number % 10}.conv"
        name = f"Net/Sequential[stages]/Stage[{number // 10}]/Block[{number % 10}]/NNCFConv2d[conv]/conv2d_0"
        rows.append(
            replace(
                row,
                site=replace(row.site, name=name, macs=1000 + number),
                entry=entry,
                fired=number / layers,
                flipped=0.01,
                runtimes=dict.fromkeys(content.targets, planned),
            )
        )
        histograms.append(ActivationHistogram(name, tuple(range(40)), 1.5, 0.5, -0.1, 0.2, 0.9))
    return replace(content, rows=tuple(rows), histograms=tuple(histograms)), _large_graph(layers)


def _large_graph(layers: int) -> dict[str, Any]:
    """Blocks of two binarizers, a convolution, a normalization, an addition and an activation."""
    scopes: list[list[Any]] = [[-1, "Sequential[stages]", "stages"]]
    nodes: list[list[Any]] = [[-1, KINDS.index("input"), "x", "x", "", "1x8", "", []]]
    kinds = [
        *("weight_binarizer", "activation_binarizer", "binarized_conv2d"),
        *("operator", "operator", "operator"),
    ]
    for number in range(layers):
        if number % 10 == 0:
            outer = len(scopes)
            scopes.append([0, f"Stage[{number // 10}]", f"stages.{number // 10}"])
        path = f"stages.{number // 10}.{number % 10}"
        block = len(scopes)
        scopes.append([outer, f"Block[{number % 10}]", path])
        scopes.append([block, "NNCFConv2d[conv]", f"{path}.conv"])
        x = len(nodes) - 1
        sources = [[], [x], [x + 1, x + 2], [x + 3], [x, x + 4], [x + 5]]
        for kind, source in zip(kinds, sources, strict=True):
            scope = block + 1 if "binar" in kind else block
            entry = 1 if kind == "binarized_conv2d" else ""
            nodes.append([scope, KINDS.index(kind), f"{kind}_0", "", entry, "1x8x8x8", "", source])
    return {"root": "Net", "kinds": KINDS, "scopes": scopes, "nodes": nodes}
