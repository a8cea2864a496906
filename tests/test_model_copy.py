"""Models that copy.deepcopy alone refuses can still be transformed."""

import copy
import warnings
import weakref
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakValueDictionary

import pytest
import torch
from torch import Tensor, fx, nn

import fxbin
from fxbin.errors import TransformError
from fxbin.original.copy import copy_model

CONFIG = {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": {"algorithm": "binarization"}}


def doubled(x: Tensor) -> Tensor:
    return x * 2


def weight_normed() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        conv = torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3))
    # A forward in train mode leaves a weight with a history in the module.
    conv(torch.rand(1, 3, 8, 8))
    return nn.Sequential(conv, nn.ReLU())


def test_a_weight_that_autograd_computed_is_copied_and_keeps_training() -> None:
    model = weight_normed()
    binarized = fxbin.transform(model, CONFIG)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(binarized(x), model(x))
    binarized.binarization.enable(activations=True, weights=True)
    binarized(x).sum().backward()
    assert {name for name, p in binarized.named_parameters() if p.grad is None} == set()
    assert all(p.grad is None for p in model.parameters())


def test_a_scripted_function_in_a_list_is_shared_with_the_copy() -> None:
    class HoldsAScript(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.activations = [torch.jit.script(doubled)]

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.activations[0](self.conv(x))
            return out

    model, x = HoldsAScript(), torch.rand(2, 3, 8, 8)
    assert torch.equal(fxbin.transform(model, CONFIG)(x), model(x))


def test_the_attribute_that_cannot_be_copied_is_quoted() -> None:
    class HoldsAGenerator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.stream = (i for i in range(3))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.conv(x)
            return out

    with pytest.raises(TransformError, match=r"cannot be copied .*generator.*remove the attribute"):
        fxbin.transform(HoldsAGenerator(), CONFIG)


class Patched(nn.Module):
    """A forward put on a convolution and a hook, both of which close over modules of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        old = self.conv.forward
        self.conv.forward = lambda x: old(x) * 2  # type: ignore[assignment, method-assign]
        self.conv.register_forward_hook(lambda _module, _args, output: self.bn(output))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


def test_functions_on_instances_run_on_the_copy() -> None:
    model, x = Patched(), torch.rand(2, 3, 8, 8)
    before = copy.deepcopy(model.state_dict())
    binarized = fxbin.transform(model, CONFIG)
    assert list(binarized.binarization.sites) == ["Patched/NNCFConv2d[conv]/conv2d_0"]
    output = binarized(x)
    output.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert binarized.get_parameter("conv.weight").grad is not None
    assert torch.equal(output, model(x))
    after = binarized.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in model.state_dict().items())


class HasSlots(nn.Conv2d):
    """torch leaves out of its copies and pickles what is in the slot."""

    __slots__ = ("scale",)

    def __init__(self) -> None:
        super().__init__(3, 4, 3)
        self.scale = 2.0

    def forward(self, x: Tensor) -> Tensor:
        """Through the slot."""
        return super().forward(x) * self.scale


class CopiesItsSlots(HasSlots):
    """The same, seeing to that itself."""

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "scale": self.scale}

    def __setstate__(self, state: dict[str, object]) -> None:
        state = dict(state)
        self.scale = state.pop("scale")  # type: ignore[assignment]
        vars(self).update(state)


def test_slots_that_copies_lack_are_quoted() -> None:
    with pytest.raises(
        TransformError,
        match=r"^model: inner cannot be copied: .* here scale, when it .*; remove __slots__$",
    ):
        fxbin.transform(nn.Sequential(OrderedDict(inner=HasSlots())), CONFIG)


def test_slots_that_are_copied_are_no_obstacle() -> None:
    model, x = nn.Sequential(CopiesItsSlots()), torch.rand(2, 3, 8, 8)
    assert torch.equal(fxbin.transform(model, CONFIG)(x), model(x))


class KnowsItsParts(nn.Module):
    """Holds a convolution, and calls it by way of `parts`."""

    def __init__(self, parts: Any) -> None:
        super().__init__()
        self.conv, self.parts = nn.Conv2d(3, 4, 3), parts
        parts["conv"] = self.conv

    def forward(self, x: Tensor) -> Tensor:
        """One of the parts."""
        y: Tensor = self.parts["conv"](x)
        return y


def test_code_that_would_go_on_with_the_original_is_refused_by_name() -> None:
    for model in (KnowsItsParts(WeakValueDictionary()), nn.Sequential(KnowsItsParts(WeakValueDictionary()))):
        with pytest.raises(TransformError, match=r"^model: the code reaches (0\.)?conv of the model itself"):
            fxbin.transform(model, CONFIG)
    fxbin.transform(KnowsItsParts({}), CONFIG)


class CallsItsParent(nn.Module):
    """Knows its parent by a weak reference, so that the parent can hold it."""

    parent: "weakref.ref[nn.Module]"

    def forward(self, x: Tensor) -> Tensor:
        """A convolution of the parent."""
        y: Tensor = self.parent().conv(x)  # type: ignore[union-attr, operator]
        return y


class Parent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.child = nn.Conv2d(3, 4, 3), CallsItsParent()
        self.child.parent = weakref.ref(self)

    def forward(self, x: Tensor) -> Tensor:
        """By way of the child."""
        y: Tensor = self.child(x)
        return y


def test_a_weak_reference_to_the_parent_is_one_to_that_of_the_copy() -> None:
    model, x = Parent(), torch.rand(2, 3, 8, 8)
    binarized = fxbin.transform(model, CONFIG)
    binarized(x).sum().backward()
    assert binarized.get_parameter("conv.weight").grad is not None
    assert model.conv.weight.grad is None
    assert vars(binarized.get_submodule("child"))["parent"]() is binarized


class UsesThreads(nn.Module):
    """What a thread computes is computed with gradients, also while the model is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Two branches side by side."""
        x = self.first(x)
        with ThreadPoolExecutor() as pool:
            one, other = pool.map(self.second, (x, x * 2))
        y: Tensor = one + other
        return y


def test_a_model_that_uses_threads_is_an_island_and_can_be_copied() -> None:
    model, x = UsesThreads(), torch.rand(2, 3, 8, 8)
    binarized = fxbin.transform(model, CONFIG)
    assert [island.scope for island in binarized.islands] == ["UsesThreads"]
    assert torch.equal(copy.deepcopy(binarized)(x), model(x))


def test_graph_modules_keep_mode_name_hooks_and_attributes() -> None:
    def hooked(module: nn.Module, args: object, output: Tensor) -> Tensor:
        return 2 * output

    graph_module = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2))).eval()
    graph_module.register_forward_hook(hooked)
    vars(graph_module)["extra"] = [graph_module]
    graph_module.unused = nn.Linear(1, 1)
    for model in (graph_module, nn.Sequential(graph_module)):
        copied = copy_model(model)
        found = copied if model is graph_module else copied[0]  # type: ignore[index]
        assert isinstance(found, fx.GraphModule)
        assert found is not graph_module
        assert found.graph.owning_module is found
        assert found.extra == [found]
        assert not found.training
        assert type(found).__name__ == type(graph_module).__name__ == "Sequential"
        assert list(found.state_dict()) == list(graph_module.state_dict())
        x = torch.rand(1, 2)
        assert torch.equal(copied(x), model(x))
        nn.init.zeros_(found.get_parameter("0.weight"))
        nn.init.zeros_(found.get_parameter("0.bias"))
        assert not copied(x).any()
