from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.passes import ReplaceStem
from tests.passes.rewriting import assert_rewrites_network, marked, reasons


class Stem(nn.Module):
    """That of ResNet."""

    def __init__(self, outputs: int = 4, **options: Any) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            3, outputs, **{"kernel_size": 7, "stride": 2, "padding": 3, "bias": False, **options}
        )
        self.bn1, self.relu, self.maxpool = nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return y


def test_the_stem_of_a_resnet_becomes_that_of_quicknet() -> None:
    module = marked(Stem(), 2, 3, 16, 16, keep="conv1")
    keys = list(module.state_dict())
    assert_rewrites_network(
        ReplaceStem(),
        module,
        before="""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            relu = call_module relu(bn1)
            maxpool = call_module maxpool(relu)
            output = output output(maxpool)
        """,
        after="""
            x = placeholder x()
            conv1_stem_conv = call_module conv1.stem.conv(x)
            conv1_stem_norm = call_module conv1.stem.norm(conv1_stem_conv)
            relu_1 = call_function relu(conv1_stem_norm)
            conv1_stem_depthwise = call_module conv1.stem.depthwise(relu_1)
            conv1_stem_depthwise_norm = call_module conv1.stem.depthwise_norm(conv1_stem_depthwise)
            conv1_stem_pointwise = call_module conv1.stem.pointwise(conv1_stem_depthwise_norm)
            conv1_stem_pointwise_norm = call_module conv1.stem.pointwise_norm(conv1_stem_pointwise)
            output = output output(conv1_stem_pointwise_norm)
        """,
    )
    assert [key for key in module.state_dict() if "stem" not in key] == keys
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    assert frozen == {"conv1.weight", "bn1.weight", "bn1.bias"}


@pytest.mark.parametrize("size", [16, 17, 30, 31])
def test_sizes_are_those_of_the_original(size: int) -> None:
    module, x = marked(Stem(), 2, 3, 16, 16, keep="conv1"), torch.rand(2, 3, size, size)
    rewrite = ReplaceStem()
    rewrite.decide([module.graph], module)
    rewrite.apply(module.graph, module)
    module.recompile()
    assert module(x).shape == Stem()(x).shape
    model: Any = module
    stem = model.conv1.stem.eval()
    y = F.relu(stem.norm(F.conv2d(x, stem.conv.weight, stride=2, padding=1)))
    y = stem.depthwise_norm(F.conv2d(y, stem.depthwise.weight, stride=2, padding=1, groups=1 * y.shape[1]))
    y = stem.pointwise_norm(F.conv2d(y, stem.pointwise.weight))
    torch.testing.assert_close(module.eval()(x), y, rtol=0, atol=0)
    torch.testing.assert_close(stem(x), y, rtol=0, atol=0)


def hooked() -> nn.Module:
    model = Stem()
    model.bn1.register_forward_hook(lambda *_: None)
    return model


class ReadTwice(Stem):
    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.maxpool(y) + y.mean()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: Stem(padding=2), "its padding is not 3, or its dilation not 1"),
        (lambda: Stem(6), "its number of output channels, 6, is no multiple of 4"),
        (lambda: nn.Sequential(Stem().conv1, nn.ReLU()), "it is not followed by a norm alone"),
        (ReadTwice, "it is not followed by a max pooling 3x3, stride 2 alone"),
        (hooked, "bn1 has hooks, which run around it"),
    ],
)
def test_other_stems_are_left_alone(model: Callable[[], nn.Module], reason: str) -> None:
    assert [*reasons(ReplaceStem(), marked(model(), 2, 3, 16, 16, keep="conv")).values()] == [reason]


def test_a_stem_that_leaves_one_pixel_is_left_alone() -> None:
    (reason,) = reasons(ReplaceStem(), marked(Stem(), 2, 3, 4, 4, keep="conv")).values()
    assert reason.startswith("its output would need a BatchNorm, but a batch of one picture")


def test_a_binarized_stem_and_small_kernels_are_left_alone() -> None:
    (reason,) = reasons(ReplaceStem(), marked(Stem(), 2, 3, 16, 16)).values()
    assert reason == "it is binarized: put it into ignored_scopes"
    others: list[dict[str, int]] = [{"kernel_size": 3}, {"stride": 1}]
    for options in others:
        assert reasons(ReplaceStem(), marked(Stem(**options), 2, 3, 16, 16, keep="conv1")) == {}
