"""Which modules become parts, that is, graphs of their own around an island."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from tests.islands.models import Inside, block, detector
from tests.transform_check import CONFIG, Case, check, same


def test_parts_are_the_largest_modules_that_are_good_for_all_calls() -> None:
    assert sorted(detector().traced_parts) == ["backbone", "crops", "head.box", "head.score", "head.tower"]


class Mixed(nn.Module):
    """A block that is called as a whole, and of which one part is called alone."""

    def __init__(self) -> None:
        super().__init__()
        self.block = block(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        y: Tensor = self.block[0](x) if x.sum() > 0 else x
        return y


def test_block_whose_part_is_called_alone_is_no_part_itself() -> None:
    model, x = Mixed(), torch.rand(2, 3, 8, 8)
    binarized = fxbin.transform(model, CONFIG, (x,))
    assert list(binarized.traced_parts) == ["block.0"]
    assert binarized.islands[1].reason == "block.0 is also called from outside of it"
    assert torch.equal(model(x), binarized(x))


def test_part_runs_in_its_own_mode() -> None:
    binarized = fxbin.transform(Inside(), CONFIG, (torch.rand(1, 3, 8, 8),)).train()
    part, x = binarized.get_submodule("branch.two"), torch.rand(2, 4, 8, 8)
    assert not torch.equal(part(x), part(x))
    part.eval()
    assert torch.equal(part(x), part(x))


class Objects:
    """Tensors where no tracer looks for them."""

    def __init__(self, items: list[Tensor]) -> None:
        self.items = items


class TakesObjects(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, batch: Objects) -> Objects:
        return Objects([self.conv(item) for item in batch.items])


def test_model_that_takes_and_gives_objects_is_an_island() -> None:
    model, x = TakesObjects(), torch.rand(2, 3, 4, 4)
    binarized = fxbin.transform(model, CONFIG, (Objects([x]),))
    assert list(binarized.traced_parts) == ["conv"]
    assert same(model(Objects([x, x])).items, binarized(Objects([x, x])).items)


class FollowsGradient(nn.Module):
    """Differentiates in its forward, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.conv(x).square().sum(), x)
        y: Tensor = self.last(x - slope)
        return y


def test_forward_that_differentiates_runs_as_it_is() -> None:
    found = check(Case(FollowsGradient(), lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.sites, found.islands) == ([], 2, 1)


class Slices(nn.Module):
    """Calls parts of a row of layers, which are modules that are made in each run."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))

    def forward(self, x: Tensor) -> Any:
        y = self.layers[:2](x)
        return self.layers[2:](y) if y.sum() > -1e9 else y


def test_modules_that_code_makes_are_islands_around_those_that_the_model_holds() -> None:
    found = check(Case(Slices(), lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.sites) == ([], 3)


class Discriminator(nn.Module):
    """Its convolutions compute their weights anew from others."""

    def __init__(self) -> None:
        super().__init__()
        parametrizations = torch.nn.utils.parametrizations
        self.first = parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))
        self.second = parametrizations.orthogonal(nn.Conv2d(4, 4, 1))
        self.last = parametrizations.weight_norm(nn.Conv2d(4, 1, 3))

    def forward(self, x: Tensor) -> Any:
        y = F.leaky_relu(self.second(F.leaky_relu(self.first(x))))
        return self.last(y) if y.sum() > -1e9 else y


def test_parametrized_convolutions_around_an_island_are_binarized() -> None:
    found = check(Case(Discriminator(), lambda batch: (torch.rand(batch, 3, 8, 8),)))
    assert (found.problems, found.sites, found.islands) == ([], 3, 1)
