"""Packed convolutions hand bits to one another where that changes no number."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

import fxbin
from fxbin.deployment import DeployedModule
from fxbin.engine.library import Engine
from fxbin.errors import EngineError
from tests.binarizing import binarize

X = torch.randn(2, 8, 7, 9, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    """Two convolutions, and what happens to the output of the first in between."""

    def __init__(self, between: Callable[["Two", Tensor], Tensor], filters: int = 8, groups: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, filters, 3, padding=1)
        self.second = nn.Conv2d(filters, filters, 3, groups=groups)
        self.third = nn.Conv2d(filters, filters, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.between(self, self.first(x))
        return y


def straight(self: Two, y: Tensor) -> Tensor:
    """Nothing else reads the floats."""
    z: Tensor = self.second(y.relu())
    return z


def around(self: Two, y: Tensor) -> Tensor:
    """A sum reads them, too."""
    y = y.relu()
    z: Tensor = self.second(y)
    return z + y[..., 1:-1, 1:-1]


def twice(self: Two, y: Tensor) -> Tensor:
    """Another convolution reads them, too."""
    z: Tensor = self.second(y) + self.third(y)
    return z


def to_itself(self: Two, y: Tensor) -> Tensor:
    """What reads bits adds the floats."""
    z: Tensor = F.pad(self.second(y), (1, 1, 1, 1)) + y
    return z


def halve(_self: Two, y: Tensor) -> Tensor:
    """The second convolution reads what was written later."""
    z = y + 1
    y.mul_(0.5)
    return z


def halved(self: Two, y: Tensor) -> Tensor:
    """It reads what was written in between."""
    z = halve(self, y)
    out: Tensor = self.second(y)
    return out + z[..., 1:-1, 1:-1]


def deployed_two(
    between: Callable[[Two, Tensor], Tensor], filters: int = 8, groups: int = 1
) -> DeployedModule:
    """`Two`, deployed."""
    return fxbin.deploy(binarize(Two(between, filters, groups), X))


def outputs(deployed: DeployedModule) -> list[str]:
    """What each packed convolution returns."""
    return [packed.output for packed in deployed.packed_convolutions.values()]


def in_floats(deployed: DeployedModule) -> DeployedModule:
    """A copy whose convolutions hand on floats, as they do while hooks look at them."""
    seen = copy.deepcopy(deployed)
    for packed in seen.packed_convolutions.values():
        packed.register_forward_pre_hook(lambda _module, args: _assert_floats(args))
    return seen


def _assert_floats(args: tuple[Tensor, ...]) -> None:
    assert all(each.is_floating_point() for each in args)


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (straight, ["bits", "floats"]),
        (around, ["both", "floats"]),
        (twice, ["both", "floats", "floats"]),
        (to_itself, ["both", "floats"]),
        (halved, ["floats", "floats"]),
    ],
)
@pytest.mark.parametrize("filters", [8, 100])
def test_bits_give_the_numbers_of_floats(
    built: Engine, between: Callable[[Two, Tensor], Tensor], expected: list[str], filters: int
) -> None:
    deployed = deployed_two(between, filters)
    assert outputs(deployed) == expected
    floats = in_floats(deployed)
    for layout in (torch.contiguous_format, torch.channels_last):
        for batch in (2, 0, 3):
            x = torch.randn(batch, 8, 7, 9).contiguous(memory_format=layout)
            for _ in range(2):  # what is remembered of the first call serves the second
                found = deployed(x)
                assert torch.equal(found, floats(x))
                assert found.stride() == floats(x).stride()


@pytest.mark.parametrize(("filters", "groups"), [(8, 8), (128, 2), (96, 32), (70, 2)])
def test_groups_read_bits(built: Engine, filters: int, groups: int) -> None:
    deployed = deployed_two(straight, filters, groups)
    assert outputs(deployed)[0] == "bits"
    assert torch.equal(deployed(X), in_floats(deployed)(X))


def test_a_picture_without_a_batch(built: Engine) -> None:
    deployed = deployed_two(around)
    assert torch.equal(deployed(X[0]), deployed(X[:1])[0])


def test_bfloat16_is_rounded_before_it_is_compared(built: Engine) -> None:
    x = X.bfloat16()
    deployed = fxbin.deploy(binarize(Two(straight).bfloat16(), x), (x,))
    assert outputs(deployed) == ["floats", "floats"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_that_is_cast_later_hands_on_floats(built: Engine, dtype: torch.dtype) -> None:
    deployed = deployed_two(around).to(dtype)
    assert deployed(X.to(dtype)).dtype == dtype
    assert torch.equal(deployed(X.to(dtype)), in_floats(deployed)(X.to(dtype)))


def test_a_gradient_is_refused_through_bits_too(built: Engine) -> None:
    for between in (straight, around):
        y = deployed_two(between)(X.clone().requires_grad_())
        with pytest.raises(EngineError, match=r"backward: a layer in 1 bit or int8 has no gradient"):
            y.sum().backward()


def test_compiled_and_exported(built: Engine) -> None:
    batch = torch.export.Dim("batch", min=1, max=8)
    for between in (straight, around):
        deployed = deployed_two(between)
        exported = torch.export.export(deployed, (X,), dynamic_shapes=({0: batch},)).module()
        compiled = torch.compile(deployed, fullgraph=True)
        for x in (X, torch.randn(3, 8, 7, 9)):
            assert torch.equal(exported(x), deployed(x))
            assert torch.equal(compiled(x), deployed(x))


@pytest.mark.parametrize("channels", [1, 3, 65])
def test_integers_that_a_user_gives_are_not_bits(built: Engine, channels: int) -> None:
    x = torch.randint(0, 255, (1, channels, 12, 12))
    model = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    deployed = fxbin.deploy(binarize(model, x))
    first, second = deployed.packed_convolutions.values()
    assert (first.takes_bits, second.takes_bits) == (False, True)
    message = rf"x: expected floats \(n, c, h, w\), got torch.int64 \(1, {channels}, 12, 12\); cast it"
    program = torch.export.export(deployed, (x.float(),)).module()
    for call in (deployed, copy.deepcopy(deployed), pickle.loads(pickle.dumps(deployed)), program):
        assert torch.equal(call(x.float()), deployed(x.float()))
        with pytest.raises(EngineError, match=message):
            call(x)


def test_what_is_remembered_of_a_call_follows_the_weights(built: Engine) -> None:
    deployed, other = deployed_two(around), deployed_two(around)
    x = X.contiguous(memory_format=torch.channels_last)
    expected, before = other(x), deployed(x)
    assert not torch.equal(before, expected)
    deployed.load_state_dict(other.state_dict())
    assert torch.equal(deployed(x), expected)
    first, _ = deployed.packed_convolutions.values()
    first.activation = "none"
    assert not torch.equal(deployed(x), expected)
    assert torch.equal(deployed(x), in_floats(deployed)(x))
    first.w_levels = first.w_levels * 2
    assert torch.equal(deployed(x), in_floats(deployed)(x))
    first.w_levels.data = first.w_levels * 2
    assert torch.equal(deployed(x), in_floats(deployed)(x))


def test_copies_and_threads_do_not_share_what_is_remembered(built: Engine) -> None:
    deployed = deployed_two(around)
    expected = [deployed(x) for x in X.split(1)]
    for copied in (copy.deepcopy(deployed), pickle.loads(pickle.dumps(deployed)), copy.copy(deployed)):
        assert torch.equal(copied(X[:1]), expected[0])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(deployed, X.split(1) * 50))
    assert all(torch.equal(one, other) for one, other in zip(found, expected * 50, strict=True))


def test_who_watches_sees_operators(built: Engine) -> None:
    deployed, counted = deployed_two(around), "fxbin::binary_conv2d"
    expected = deployed(X)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        assert torch.equal(deployed(X), expected)
    assert [counted in event.key for event in profile.key_averages()].count(True) == 2
    assert torch.equal(torch.func.vmap(lambda x: x)(deployed(X)), expected)
    assert torch.equal(deployed(torch._neg_view(-X)), expected)
    with forward_ad.dual_level(), pytest.raises(EngineError, match="forward-mode differentiation: "):
        deployed(forward_ad.make_dual(X, X))
