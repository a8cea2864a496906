"""Islands in the middle of a graph, or in one mode only: the code around them is one graph."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.errors import TraceError
from tests.binarizing import as_if_trained
from tests.islands.models import Inside, block
from tests.transform_check import CONFIG, Case, check


def test_code_around_an_island_is_one_graph() -> None:
    model = Inside()
    found = check(Case(model, lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert not found.problems
    binarized = fxbin.transform(model, CONFIG, (torch.rand(1, 3, 8, 8),))
    assert [island.owner for island in binarized.islands] == ["branch"]
    assert list(binarized.traced_parts) == ["branch.two"]
    assert [s.name for s in fxbin.summary(binarized).sites if s.binarized] == [
        "Inside/Sequential[stem]/NNCFConv2d[0]/conv2d_0",
        "Inside/Branch[branch]/Sequential[two]/Sequential[0]/NNCFConv2d[0]/conv2d_0",
        "Inside/NNCFConv2d[last]/conv2d_0",
    ]
    assert fxbin.summary(binarized).never_ran == ("branch.one",)


class NeedsTargets(nn.Module):
    """Can be traced in eval mode; in train mode it wants more than the example inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = block(3, 2)
        self.kernel = nn.Parameter(torch.rand(2, 2, 1, 1))

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        x = self.head(self.conv(F.relu(self.conv(x))))
        if not self.training:
            return F.conv2d(x, self.kernel)
        if target is None:
            raise ValueError("no target")
        return (x - target).square().mean()


def test_model_that_cannot_be_traced_in_train_mode_is_an_island_there() -> None:
    model, x = NeedsTargets(), torch.rand(2, 3, 8, 8)
    binarized = fxbin.transform(model, CONFIG, (torch.rand(1, 3, 8, 8),))
    assert torch.equal(model.eval()(x), binarized.eval()(x))
    target = torch.rand(2, 2, 8, 8)
    assert torch.equal(model.train()(x, target), binarized.train()(x, target))
    with pytest.raises(ValueError, match="no target"):
        binarized(x)
    (island,) = binarized.islands
    assert island.reason.startswith("in train mode: ValueError: no target")
    first, second, head, function = fxbin.summary(binarized).sites
    assert (first.binarized, second.binarized, head.binarized, function.binarized) == (
        True,
        True,
        True,
        False,
    )
    binarized.binarization.enable(activations=True, weights=True)
    binarized(x, target).backward()
    assert all(site.activation.scale.grad is not None for site in binarized.binarization.sites.values())
    sites = list(binarized.binarization.sites.values())
    assert sites[0].activation is sites[1].activation


def test_model_that_can_be_traced_in_eval_mode_can_be_exported(tmp_path: Any) -> None:
    pytest.importorskip("onnxscript")
    binarized = as_if_trained(fxbin.transform(NeedsTargets(), CONFIG, (torch.rand(1, 3, 8, 8),)))
    assert len(fxbin.export_onnx(binarized, tmp_path / "model.onnx", (torch.rand(1, 3, 8, 8),)).sites) == 3


class FindsPoints(nn.Module):
    """Gives a list with an item for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [torch.nonzero(image[0] > 0) for image in self.conv(x)]


class DescribesPoints(nn.Module):
    """Goes through the list that another module gives, in code that could be traced but for its length."""

    def __init__(self) -> None:
        super().__init__()
        self.find, self.describe = FindsPoints(), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        described = self.describe(x)
        return [described[i][:, p[:, 0], p[:, 1]] for i, p in enumerate(self.find(x))]


def test_list_that_an_island_gives_may_have_another_length_in_each_run() -> None:
    model = DescribesPoints()
    found = check(Case(model, lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.islands) == ([], 2)
    binarized = fxbin.transform(model, CONFIG, (torch.rand(1, 3, 8, 8),))
    assert binarized.islands[0].reason.startswith("find gives a list, whose length is known only")


class Perhaps(nn.Module):
    """Leaves out the second result where the content says so."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return x, x * 2 if x.max() > 0.5 else None


class TakesPerhaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.perhaps, self.conv = Perhaps(), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.perhaps(x)
        y: Tensor = self.conv(first if second is None else second)
        return y


def test_containers_that_an_island_gives_are_checked() -> None:
    model = TakesPerhaps()
    binarized = fxbin.transform(model, CONFIG, (torch.zeros(1, 3, 4, 4),))
    ones, zeros = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    assert torch.equal(model(ones), binarized(ones))
    with pytest.raises(
        TraceError, match=r"perhaps gives \(tensor, tensor\), and now it gives \(tensor, None\)"
    ):
        binarized(zeros)
