"""Submodules may be in another mode than the model, and their code sees it."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import ExportError
from tests.transform_check import CONFIG, same

X = torch.rand(4, 3, 8, 8)


class Norm(nn.BatchNorm2d):
    """A normalization written in Python, which asks for its mode."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        x = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, 0.1, self.eps
        )
        return F.relu(x)


class Drop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, self.training)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 4, 3), Norm(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3), Norm(4)
        self.drop = Drop()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x))
        y: Tensor = self.drop(self.norm2(self.conv2(x)))
        return y


def assert_same(model: nn.Module, binarized: nn.Module, *inputs: Any) -> None:
    """Output, gradients and buffers of one step, bit for bit."""
    results = []
    for either in (model, binarized):
        torch.manual_seed(3)
        either.zero_grad()
        output = either(*(inputs or (X,)))
        output.sum().backward()
        results.append(
            [output, *(p.grad for n, p in either.named_parameters() if "_binarizer" not in n)]
            + [b for n, b in either.named_buffers() if "_binarizer" not in n]
        )
    assert same(*results)


def transformed(model: nn.Module) -> BinarizedModule:
    return fxbin.transform(model, CONFIG, (X[:1],))


def test_norm_and_dropout_written_in_python_can_be_switched_by_themselves() -> None:
    model = Net()
    binarized = transformed(model)
    for frozen in (["norm1"], ["norm1", "norm2"], ["drop"], [], ["norm2"]):
        for either in (model, binarized):
            either.train()
            for name in frozen:
                either.get_submodule(name).eval()
        assert_same(model, binarized)
    for either in (model, binarized):
        either.eval()
        either.get_submodule("drop").train()
    assert_same(model, binarized)
    assert len(binarized.traced_graphs) == 2 + 5
    assert_same(model.eval(), binarized.eval())
    assert_same(model.train(), binarized.train())
    assert len(binarized.traced_graphs) == 2 + 5


def test_what_was_frozen_before_the_transform_stays_frozen() -> None:
    model = Net().train()
    model.norm1.eval()
    assert_same(model, transformed(model))


def test_graphs_for_single_modes_share_binarizers() -> None:
    binarized = transformed(Net()).train()
    names = [name for name, _ in binarized.named_modules()]
    binarized.binarization.enable(activations=True, weights=True)
    with torch.no_grad():
        everything = binarized(X)
    binarized.get_submodule("drop").eval()
    binarized(X).sum().backward()
    assert [name for name, _ in binarized.named_modules()] == names
    for site in binarized.binarization.sites.values():
        assert site.activation.scale.grad is not None
    with torch.no_grad():
        without = binarized(X)
    kept = everything != 0
    assert torch.equal(everything[kept], (without * 2)[kept])


def test_copies_trace_for_themselves() -> None:
    model = Net()
    binarized = transformed(model)
    for either in (model, binarized):
        either.train()
        either.get_submodule("norm1").eval()
    copied = copy.deepcopy(binarized)
    reference = copy.deepcopy(model)
    assert_same(reference, copied)
    assert_same(model, binarized)
    again = copy.deepcopy(binarized)
    again.get_submodule("norm2").eval()
    model.norm2.eval()
    assert_same(model, again)


class Freezes(Net):
    """Keeps its normalization in eval mode, whatever it is told."""

    def train(self, mode: bool = True) -> "Freezes":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def test_model_that_freezes_its_normalization_needs_no_further_graph() -> None:
    model = Freezes()
    binarized = transformed(model)
    assert_same(model.train(), binarized.train())
    assert len(binarized.traced_graphs) == 2
    for either in (model, binarized):
        either.get_submodule("norm1").train()
    assert_same(model, binarized)


class Hooked(Net):
    """Has a hook of its own on a submodule and on itself."""

    def __init__(self) -> None:
        super().__init__()
        self.register_forward_hook(lambda module, args, output: output * 2)
        self.norm1.register_forward_hook(lambda module, args, output: output + self.conv1.weight.sum())


def test_hooks_are_in_further_graphs_too() -> None:
    model = Hooked()
    binarized = transformed(model)
    for either in (model, binarized):
        either.train()
        either.get_submodule("norm1").eval()
    assert_same(copy.deepcopy(model), copy.deepcopy(binarized))
    assert_same(model, binarized)


class Branches(Net):
    """An island whose part asks for modes."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(4, 4, 1), Norm(4), Drop())

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x))
        y: Tensor = self.part(x) if x.sum() > 0 else x
        return y


def test_parts_around_islands_are_switched_too() -> None:
    model = Branches()
    binarized = transformed(model)
    for frozen in (["part.1"], ["part.2"], ["norm1"], ["part"], []):
        for either in (model, binarized):
            either.train()
            for name in frozen:
                either.get_submodule(name).eval()
        assert_same(model, binarized)
    copied = copy.deepcopy(binarized)
    for either in (model, copied):
        either.get_submodule("part.1").eval()
    assert_same(model, copied)


class Peculiar(Net):
    """Looks at content where one module is in eval mode and another is not."""

    def forward(self, x: Tensor) -> Tensor:
        if self.drop.training and not self.norm1.training and x.sum() > 1:
            x = x + 1
        return super().forward(x)


def test_in_modes_that_cannot_be_traced_the_own_code_runs_and_no_file_can_hold_it() -> None:
    model = Peculiar()
    binarized = transformed(model)
    for either in (model, binarized):
        either.train()
        either.get_submodule("norm1").eval()
    assert_same(model, binarized)
    with pytest.raises(
        ExportError, match=r"no graph can hold what Peculiar does now: the content of a tensor"
    ):
        binarized.show_running((), {})
    binarized.binarization.enable(activations=True, weights=True)
    assert not torch.equal(binarized(X), model(X))
    assert_same(model.train(), transformed(model).train())


def test_modes_that_forward_sets_are_none_to_choose_by() -> None:
    class Sets(Net):
        def forward(self, x: Tensor) -> Tensor:
            self.norm1.eval()
            return super().forward(x)

    model = Sets()
    binarized = transformed(model)
    assert_same(model.train(), binarized.train())
    assert len(binarized.traced_graphs) == 2


@pytest.mark.parametrize("frozen", ["norm1", "drop"])
def test_compiled_model_is_switched_in_one_graph(frozen: str) -> None:
    binarized = transformed(Net())
    compiled = torch.compile(binarized, backend="eager", fullgraph=True)
    for either in (True, False):
        binarized.train()
        binarized.get_submodule(frozen).train(either)
        results = []
        for model in (compiled, binarized):
            torch.manual_seed(0)
            results.append(model(X))
        assert same(*results)


def test_any_number_of_compiled_models_run_in_one_process() -> None:
    for _ in range(9):  # torch.compile gives up on a function that it has compiled eight times
        binarized = transformed(Net()).eval()
        compiled = torch.compile(binarized, backend="eager", fullgraph=True)
        assert same(compiled(X), binarized(X))
