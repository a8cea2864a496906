"""A watcher sees each pass: its name, the graph after it, and whether it changed anything."""

import logging
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.passes import PassRun, watch_passes
from tests.transforming import SMALL, Small

PASSES = [
    "name-nodes",
    "mark-call-sites",
    "inline-conv2d",
    "insert-weight-binarizers",
    "insert-activation-binarizers",
]


def test_each_pass_is_seen_in_order() -> None:
    runs: list[PassRun] = []
    sizes: list[int] = []
    with watch_passes(runs.append), watch_passes(lambda run: sizes.append(len(run.graph.nodes))):
        model = fxbin.transform(Small(), SMALL)
    assert list(dict.fromkeys(run.name for run in runs)) == PASSES
    assert {id(run.graph) for run in runs} == {id(graph) for graph in model.all_graphs}
    assert all(run.changed for run in runs)
    assert all(run.seconds > 0 for run in runs)
    of_first = [size for run, size in zip(runs, sizes, strict=True) if run.graph is runs[0].graph]
    assert of_first[-1] == len(runs[0].graph.nodes) > of_first[0]


def test_nobody_watches_afterwards() -> None:
    runs: list[PassRun] = []
    with watch_passes(runs.append):
        pass
    fxbin.transform(Small(), SMALL)
    assert not runs


class Dropping(nn.Module):
    """Asks for its own mode, and so has another graph in each."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, self.training)


def test_graphs_for_other_modes_are_seen_too() -> None:
    dropping = Dropping()
    model: Any = fxbin.transform(nn.Sequential(nn.Conv2d(3, 4, 3), dropping, nn.Conv2d(4, 4, 3)), SMALL)
    runs: list[PassRun] = []
    model.eval()[1].train()
    with watch_passes(runs.append):
        model(torch.rand(2, 3, 8, 8))
    assert [run.name for run in runs] == PASSES


def test_passes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="fxbin.passes.base"):
        fxbin.transform(Small(), SMALL)
    assert "insert-weight-binarizers: changed in" in caplog.text
