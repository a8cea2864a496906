from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.passes import PoolBeforeDownsampling
from tests.passes.blocks import Residual, conv
from tests.passes.rewriting import assert_rewrites_network, listing, marked, reasons


def test_the_strided_convolution_of_a_shortcut_reads_averages() -> None:
    module = marked(Residual(2, 4, stride=2), 1, 2, 5, 5, keep="downsample")
    keys = list(module.state_dict())
    assert_rewrites_network(
        PoolBeforeDownsampling(),
        module,
        before=listing(module),
        after="""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            relu = call_module relu(bn1)
            conv2 = call_module conv2(relu)
            bn2 = call_module bn2(conv2)
            downsample_0_weight = get_attr downsample.0.weight()
            avg_pool2d = call_function avg_pool2d(x, (2, 2), (2, 2), ceil_mode=True, count_include_pad=False)
            conv2d = call_function conv2d(avg_pool2d, downsample_0_weight, None, 1, (0, 0), (1, 1), 1)
            downsample_1 = call_module downsample.1(conv2d)
            iadd = call_function iadd(bn2, downsample_1)
            relu_1 = call_module relu(iadd)
            output = output output(relu_1)
        """,
    )
    assert list(module.state_dict()) == keys
    module.recompile()
    x = torch.rand(2, 2, 7, 7)
    assert module(x).shape == (2, 4, 4, 4)


class Functional(nn.Module):
    """A shortcut with a call of `F.conv2d`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.kernel = conv(2, 2, 3, 2), nn.Parameter(torch.rand(2, 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + F.conv2d(x, self.kernel, stride=2))


def test_a_function_is_changed_alike() -> None:
    module = marked(Functional(), 1, 2, 6, 6, keep="Functional/conv2d_0")
    x = torch.rand(2, 2, 6, 6)
    model: Any = module
    expected = F.relu(model.conv(x) + F.conv2d(F.avg_pool2d(x, 2), model.kernel))
    rewrite = PoolBeforeDownsampling()
    rewrite.decide([module.graph], module)
    assert rewrite.apply(module.graph, module)
    module.recompile()
    torch.testing.assert_close(module(x), expected, rtol=0, atol=0)


def test_a_binarized_convolution_is_left_alone() -> None:
    assert reasons(PoolBeforeDownsampling(), marked(Residual(2, 4, stride=2), 1, 2, 4, 4)) == {
        "downsample_0": "it is binarized: put it into ignored_scopes"
    }


def test_other_convolutions_are_no_matter_of_it() -> None:
    block = Residual()
    block.downsample = nn.Sequential(conv(2, 2, 1), nn.BatchNorm2d(2))
    assert reasons(PoolBeforeDownsampling(), marked(block, 1, 2, 4, 4, keep="downsample")) == {}
    model = nn.Sequential(conv(2, 2, 1, 2), nn.ReLU())
    assert reasons(PoolBeforeDownsampling(), marked(model, 1, 2, 4, 4, keep="conv")) == {}
