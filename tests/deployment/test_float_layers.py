"""What `fxbin.deploy` does with the layers that stay in float."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.deployment import DeployedModule
from fxbin.engine.library import Engine
from tests.binarizing import as_if_trained
from tests.transforming import config

X = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))


class Stem(nn.Module):
    """A convolution in float, what follows it, and a binarized one."""

    def __init__(self, behind: Callable[["Stem", Tensor], Tensor] | None = None, **options: Any) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=options.pop("bias", True))
        self.bn, self.relu = nn.BatchNorm2d(8, **options), nn.ReLU(inplace=True)
        self.pool, self.conv = nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3)
        self.behind = behind

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool(self.relu(self.bn(self.stem(x)))) if self.behind is None else self.behind(self, x)
        z: Tensor = self.conv(y)
        return z


def stem_in_float(model: nn.Module, x: Tensor) -> BinarizedModule:
    """`model` in its last stage, but for `stem`."""
    settings = config(*x.shape, ignored_scopes=[r"{re}\[stem\]"])
    return as_if_trained(fxbin.transform(model, settings, (x,)))


def deployed(model: nn.Module, x: Tensor = X) -> DeployedModule:
    """The model with `stem` in float, which computes what the binarized one does."""
    binarized = stem_in_float(model, x)
    made = fxbin.deploy(binarized, (x,))
    with torch.no_grad():
        for batch in (x, x[:1] * 2):
            found, expected = made(batch).double(), binarized(batch).double()
            assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    return made


def layers(module: DeployedModule) -> list[str]:
    """The layers that its graph calls, in order."""
    return [str(node.target) for node in module.graph.find_nodes(op="call_module", sort=True)]


READERS: dict[str, Callable[[Stem, Tensor], Tensor]] = {
    "the weight in another convolution": lambda net, x: F.conv2d(x, net.stem.weight, None, 1, 1),
    "a function of the weight": lambda net, x: net.stem.weight.abs().mean() + x[:, :1],
    "the bias": lambda net, _: net.stem.bias.view(-1, 1, 1),  # type: ignore[union-attr]
    "the layer once more": lambda net, x: net.stem(-x),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_convolution_keeps_a_weight_that_other_code_reads(built: Engine, reader: str) -> None:
    model = Stem(lambda net, x: net.bn(net.stem(x)) + READERS[reader](net, x))
    nn.init.uniform_(model.bn.weight, 2, 3)
    assert "bn" in layers(deployed(model))


def test_a_convolution_keeps_the_weight_in_a_module_that_is_kept_whole(built: Engine) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.inner(x)
            return y

    model = Stem(lambda net, x: net.bn(net.stem.inner(x)) + net.stem(x))  # type: ignore[operator]
    model.stem = Whole()  # type: ignore[assignment]
    nn.init.uniform_(model.bn.weight, 2, 3)
    settings = config(*X.shape, ignored_scopes=[r"{re}stem"])
    binarized = as_if_trained(fxbin.transform(model, settings, (X,), leaf_modules=(Whole,)))
    torch.testing.assert_close(fxbin.deploy(binarized, (X,))(X), binarized(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"affine": False, "eps": 0.1}], ids=str)
def test_batch_norm_becomes_part_of_a_convolution(built: Engine, options: dict[str, Any]) -> None:
    model = Stem(**options)
    weight = model.stem.weight.clone()
    found = deployed(model)
    assert layers(found) == ["stem", "pool", "relu", "packed.conv"]
    assert not torch.equal(found.get_parameter("stem.weight"), weight)
    assert torch.equal(model.stem.weight, weight)
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_in_float64_too(built: Engine) -> None:
    found = deployed(Stem().double(), X.double())
    assert layers(found) == ["stem", "pool", "relu", "packed.conv"]
    assert found.get_parameter("stem.weight").dtype == torch.float64


def test_bfloat16_would_be_rounded_twice(built: Engine) -> None:
    x = X.bfloat16()
    found = fxbin.deploy(stem_in_float(Stem().bfloat16(), x), (x,))
    assert layers(found) == ["stem", "bn", "pool", "relu", "packed.conv"]


def twice(self: Stem, x: Tensor) -> Tensor:
    """The convolution is called a second time, without BatchNorm."""
    y: Tensor = self.bn(self.stem(x)) + self.stem(x + 1)
    return y


def read_twice(self: Stem, x: Tensor) -> Tensor:
    """Its output is read a second time."""
    y = self.stem(x)
    z: Tensor = self.bn(y) + y
    return z


@pytest.mark.parametrize("behind", [twice, read_twice])
def test_a_batch_norm_that_is_not_alone_stays(
    built: Engine, behind: Callable[[Stem, Tensor], Tensor]
) -> None:
    assert "bn" in layers(deployed(Stem(behind)))


def test_what_a_hook_sees_stays(built: Engine) -> None:
    model, seen = Stem(), []
    model.bn.register_forward_hook(lambda *args: seen.append(args[-1]))
    assert layers(deployed(model))[:2] == ["stem", "bn"]
    assert seen


def relu_is_read(self: Stem, x: Tensor) -> Tensor:
    """ReLU works in place on what is read again."""
    y = self.bn(self.stem(x))
    z: Tensor = self.pool(self.relu(y)) + y[..., ::2, ::2]
    return z


def test_relu_that_is_read_again_stays_in_front_of_pooling(built: Engine) -> None:
    found = layers(deployed(Stem(relu_is_read)))
    assert found.index("relu") < found.index("pool")


def test_pooling_that_keeps_the_size_stays_behind_relu(built: Engine) -> None:
    model = Stem()
    model.pool = nn.MaxPool2d(3, 1, 1)
    assert layers(deployed(model)) == ["stem", "relu", "pool", "packed.conv"]


def test_nan_stays_nan(built: Engine) -> None:
    found = deployed(Stem())
    stem = nn.Sequential(*(found.get_submodule(name) for name in ("stem", "pool", "relu")))
    x = X.clone()
    x[0, 0, 3, 3] = torch.nan
    with torch.no_grad():
        y = nn.functional.max_pool2d(found.get_submodule("stem")(x).relu(), 3, 2, 1)
        assert torch.equal(stem(x).isnan(), y.isnan())
    assert y.isnan().any()
