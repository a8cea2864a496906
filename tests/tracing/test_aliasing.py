"""What a graph does in place, it does to the same memory as the model."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tracing.running import traced


class AugmentedAlias(nn.Module):
    def forward(self, x: Tensor) -> Any:
        x = x.clone()
        alias = x
        x += 1
        x *= 2
        return x, alias, alias is x


class ViewWrite(nn.Module):
    def forward(self, x: Tensor) -> Any:
        x = x * 1
        first = x[:, 0]
        first.add_(5)
        x[:, 1] = first
        x[:, 2:].zero_()
        y = x.view(-1)
        F.relu(y, inplace=True)
        return x, first


class OutArgument(nn.Module):
    def forward(self, x: Tensor) -> Any:
        result = torch.empty_like(x)
        torch.add(x, 1, out=result)
        torch.clamp(result, max=1.5, out=result)
        return result


class InplaceModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        y = x - 0.5
        z = self.relu(y)
        return y, z + y


class DataWrite(nn.Module):
    def forward(self, x: Tensor) -> Any:
        y = x * 2
        y.data.add_(1)
        z = x + 0
        z.data = y
        return y, z


@pytest.mark.parametrize("case", [AugmentedAlias, ViewWrite, OutArgument, InplaceModule, DataWrite])
def test_writes_reach_every_alias(case: type[nn.Module]) -> None:
    model = case()
    graph = traced(model, torch.zeros(1, 4))
    x = torch.rand(3, 4)
    expected, found = model(x.clone()), graph(x.clone())
    assert torch.equal(torch.stack([*_tensors(expected)]), torch.stack([*_tensors(found)]))


def _tensors(result: Any) -> list[Tensor]:
    items = result if isinstance(result, tuple) else (result,)
    return [item for item in items if isinstance(item, Tensor) and item.dim() == 2]


def test_input_that_the_model_overwrites_is_overwritten() -> None:
    class Overwrites(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(3)

    graph = traced(Overwrites(), torch.zeros(1))
    x = torch.ones(2)
    assert graph(x) is x
    assert torch.equal(x, torch.tensor([3.0, 3.0]))


class Statistics(nn.Module):
    """A BatchNorm written in Python: assigns, adds to and copies into its buffers."""

    mean: Tensor
    square: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("square", torch.zeros(3))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        before = self.mean
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
            self.square.mul_(0.9).add_(0.1 * x.detach().square().mean(0))
            self.calls += 1
        return (x - self.mean + before) / (self.square + 1).sqrt()


def test_buffers_change_when_the_graph_runs_and_not_while_it_is_made() -> None:
    model = Statistics()
    reference = copy.deepcopy(model)
    graph = traced(model, torch.ones(1, 3), training=True)
    assert int(model.calls) == 0
    assert model.mean.eq(0).all()
    for step in range(3):
        x = torch.full((2, 3), float(step + 1))
        assert torch.equal(graph(x), reference.train()(x))
    for found, expected in zip(model.buffers(), reference.buffers(), strict=True):
        assert torch.equal(found, expected)


def test_eval_graph_leaves_buffers_alone() -> None:
    model = Statistics()
    traced(model, torch.ones(1, 3))(torch.ones(2, 3))
    assert int(model.calls) == 0


def test_batch_norm_of_torch_counts_in_train_mode_only_when_run() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2, momentum=None))
    graph = traced(model, torch.ones(1, 2, 1, 1), training=True)
    assert int(model[0].num_batches_tracked) == 0  # type: ignore[arg-type]
    graph.train()(torch.rand(2, 2, 3, 3))
    assert int(model[0].num_batches_tracked) == 1  # type: ignore[arg-type]


class Assigned(nn.Module):
    """Assigns buffers, goes on to change them, and still has what they were."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.before: Tensor
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("before", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        first = self.mean
        with torch.no_grad():
            self.before = self.mean
            self.mean = self.mean / 2 + x.mean(0)
            second = self.mean
            self.mean = self.mean + 1
            self.mean += 1
            self.mean[0] = 7
            self.mean.data.mul_(2)
        return x - self.mean + first * 10 + second * 100 + self.before * 1000


def test_buffers_that_are_assigned_and_then_changed_keep_what_was_done_last() -> None:
    model = Assigned()
    graph = traced(copy.deepcopy(model), torch.zeros(1, 3))
    for _ in range(3):
        x = torch.rand(2, 3)
        assert torch.equal(graph(x), model(x))
        for name, expected in model.named_buffers():
            assert torch.equal(graph.get_buffer(name), expected), name
