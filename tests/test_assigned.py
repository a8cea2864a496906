"""Attributes that forward sets: after a transformed model has run, they are as in the original."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.diagnostics.nonfinite import first_nonfinite
from tests.test_own_code import batch, runs_a_graph
from tests.transforming import config

# Dynamo itself makes the object it warns of.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.leaver: nn.Module = nn.Identity()
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv2(self.leaver(self.conv1(x))))
        return y


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


class Keeps(nn.Module):
    """What it comes by, in an attribute that there was not before."""

    def forward(self, x: Tensor) -> Tensor:
        self.feat = x.detach()
        return x


class KeepsInTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mask = (x > 0).detach()
        return x


class KeepsInABuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", None)

    def forward(self, x: Tensor) -> Tensor:
        self.last = x.detach()
        return x


class Caches(nn.Module):
    """In a dict, what is looked for there in later calls."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if "ones" not in self.cache:
            self.cache["ones"] = torch.ones(x.shape[1:])
        return x + self.cache["ones"]


class Appends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.losses: list[Tensor] = []
        self.seen: dict[str, list[torch.Size]] = {"shapes": []}

    def forward(self, x: Tensor) -> Tensor:
        self.losses.append(x.detach().mean())
        self.seen["shapes"].append(x.shape)
        return x


class NotesSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.height = self.width = 0

    def forward(self, x: Tensor) -> Tensor:
        self.height, self.width = x.shape[-2:]
        return x


class Averages(nn.Module):
    """In a plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        return x - self.mean


class Forgets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale: float | None = 2.0

    def forward(self, x: Tensor) -> Tensor:
        y = x * (self.scale or 1)
        self.scale = None
        return y


LEAVERS = (
    Counts,
    Keeps,
    KeepsInTraining,
    KeepsInABuffer,
    Caches,
    Appends,
    NotesSize,
    Averages,
    Forgets,
)


class SetsFlags(nn.Module):
    """To the same values each time."""

    def __init__(self) -> None:
        super().__init__()
        self.is_ready, self.sizes = False, [0]

    def forward(self, x: Tensor) -> Tensor:
        self.is_ready, self.sizes = True, [1, 2]
        return x


class SetsBack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.stack = 1.0, [1.0]

    def forward(self, x: Tensor) -> Tensor:
        before, self.scale, self.temporary = self.scale, 2.0, x
        self.stack.append(self.scale)
        y = self.temporary * self.stack.pop()
        self.scale = before
        del self.temporary
        return y


def net(leaver: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    model = Net()
    model.leaver = leaver()
    return model


def transformed(model: nn.Module) -> Any:
    return fxbin.transform(model, config(2, 3, 8, 8))


def left(model: nn.Module) -> dict[str, Any]:
    """What the module in question holds, and its modules themselves not."""
    attributes = vars(model.get_submodule("leaver"))
    return {
        name: value for name, value in attributes.items() if not name.startswith("_") or name == "_buffers"
    }


def assert_same_left(one: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(left(one), left(other), rtol=0, atol=0)


@pytest.mark.parametrize("leaver", LEAVERS)
def test_attributes_are_what_the_original_leaves(leaver: type[nn.Module]) -> None:
    original = net(leaver)
    model = transformed(original)
    assert_same_left(model, original)
    for training in (True, False, True):
        for size in (8, 10) if leaver is not Caches else (8, 8):
            outputs = [either.train(training)(batch(size=size)) for either in (model, original)]
            assert torch.equal(*outputs)
            assert_same_left(model, original)
    copied = copy.deepcopy(model)
    for either in (model, original):
        either(batch(1))
    assert_same_left(model, original)
    copied(batch(1))
    assert_same_left(copied, original)


def binarized_pair(leaver: type[nn.Module]) -> tuple[Any, Any]:
    """With `leaver`, and without, all binarizers on."""
    models = [transformed(net(kind)) for kind in (leaver, nn.Identity)]
    for model in models:
        model.binarization.enable(activations=True, weights=True)
    return models[0], models[1]


@pytest.mark.parametrize("leaver", [Counts, Keeps, Appends])
def test_binarized_models_train_as_without_what_they_leave(leaver: type[nn.Module]) -> None:
    model, plain = binarized_pair(leaver)
    for seed in range(2):
        for either in (model, plain):
            either(batch(seed)).square().mean().backward()
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=0)
    for (name, one), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0, msg=name)
    model.eval(), plain.eval()
    assert torch.equal(model(batch(2)), plain(batch(2)))


@pytest.mark.parametrize("leaver", [SetsFlags, SetsBack])
def test_graphs_run_where_attributes_are_what_forward_sets(leaver: type[nn.Module]) -> None:
    original = net(leaver)
    model = transformed(original)
    for training in (True, False):
        for either in (model, original):
            either.train(training)(batch())
        assert_same_left(model, original)
        assert runs_a_graph(model)


def test_attribute_that_is_changed_by_others_is_set_again() -> None:
    model = transformed(net(SetsFlags))
    model(batch())
    assert runs_a_graph(model)
    model.leaver.is_ready = False
    model(batch())
    assert model.leaver.is_ready
    assert runs_a_graph(model)


def test_modules_that_are_kept_whole_leave_what_they_leave() -> None:
    model: Any = fxbin.transform(net(Counts), config(2, 3, 8, 8), leaf_modules=(Counts,))
    assert runs_a_graph(model)
    model(batch())
    assert model.leaver.calls == 1


def test_mode_that_forward_sets_stays() -> None:
    class Freezes(Net):
        def forward(self, x: Tensor) -> Tensor:
            self.bn.eval()
            return super().forward(x)

    torch.manual_seed(0)
    original = Freezes()
    model = transformed(original)
    for _ in range(2):
        assert torch.equal(*(either.train()(batch()) for either in (model, original)))
        assert not model.bn.training
        assert runs_a_graph(model)


# Of torch 2.9 itself, which looks at a buffer that is not a leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("leaver", LEAVERS)
@pytest.mark.parametrize("nested", [False, True])
def test_compiled_models_leave_the_same(leaver: type[nn.Module], nested: bool) -> None:
    torch.compiler.reset()
    original: Any = net(leaver)
    model = transformed(original)
    compiled: Any = torch.compile(nn.Sequential(model) if nested else model, backend="eager")
    for training in (True, False):
        for either in (original, model, compiled):
            either.train(training)
        for seed in range(2):
            torch.testing.assert_close(compiled(batch(seed)), original(batch(seed)))
            torch.testing.assert_close(left(model), left(original))


def test_start_of_scales_in_front_of_a_compiled_call_leaves_nothing() -> None:
    torch.compiler.reset()
    model = transformed(net(Counts))
    model.binarization.enable(activations=True, weights=True)
    compiled: Any = torch.compile(model, backend="eager")
    compiled(batch())
    assert model.leaver.calls == 1


@pytest.mark.parametrize("leaver", LEAVERS)
def test_graphs_are_exported_all_the_same(leaver: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = transformed(net(leaver)).eval()
    model.binarization.enable(activations=True, weights=True)
    before = copy.deepcopy(left(model))
    program: Any = torch.export.export(model, (batch(),)).module()
    torch.testing.assert_close(left(model), before)
    torch.testing.assert_close(program(batch()), model(batch()))


def test_graphs_are_what_other_uses_of_them_find() -> None:
    model = transformed(net(Counts)).eval()
    followed = torch.fx.symbolic_trace(model)
    assert torch.equal(followed(batch()), model(batch()))
    assert model.leaver.calls == 1
    assert first_nonfinite(model, batch() / 0) == "the input 'x'"
