import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.passes import NormBeforeBinarize
from tests.passes.blocks import PreActivated, Residual, conv
from tests.passes.rewriting import assert_rewrites_network, listing, marked, reasons


def test_a_relu_between_norm_and_convolution_is_dropped_and_other_inputs_get_a_norm() -> None:
    assert_rewrites_network(
        NormBeforeBinarize(),
        marked(Residual(), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            relu = call_module relu(bn1)
            conv2 = call_module conv2(relu)
            bn2 = call_module bn2(conv2)
            iadd = call_function iadd(bn2, x)
            relu_1 = call_module relu(iadd)
            output = output output(relu_1)
        """,
        after="""
            x = placeholder x()
            conv1_input_norm = call_module conv1.input.norm(x)
            conv1 = call_module conv1(conv1_input_norm)
            bn1 = call_module bn1(conv1)
            conv2 = call_module conv2(bn1)
            bn2 = call_module bn2(conv2)
            iadd = call_function iadd(bn2, x)
            relu_1 = call_module relu(iadd)
            output = output output(relu_1)
        """,
    )


class ReadTwice(nn.Module):
    """The ReLU in front of the convolution is also a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(2), conv(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(x))
        return F.relu(self.conv(x) + x)


def test_a_relu_that_is_read_elsewhere_stays() -> None:
    module = marked(ReadTwice(), 1, 2, 4, 4)
    assert_rewrites_network(
        NormBeforeBinarize(),
        module,
        before=listing(module),
        after="""
            x = placeholder x()
            bn = call_module bn(x)
            relu = call_function relu(bn)
            conv_input_norm = call_module conv.input.norm(relu)
            conv = call_module conv(conv_input_norm)
            add = call_function add(conv, relu)
            relu_1 = call_function relu(add)
            output = output output(relu_1)
        """,
    )


def test_an_input_that_is_normalized_is_left_alone() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Identity(), conv(2, 2), nn.ReLU())
    assert reasons(NormBeforeBinarize(), marked(model, 1, 2, 4, 4)) == {
        "_2": "its input is the output of a norm"
    }


def test_an_input_of_one_pixel_gets_no_norm() -> None:
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(2, 2, 1), nn.ReLU())
    (found,) = reasons(NormBeforeBinarize(), marked(gate, 1, 2, 4, 4)).values()
    assert found == (
        "its input would need a BatchNorm, but a batch of one picture has one value for each channel there, "
        "with which BatchNorm cannot be trained"
    )


def test_a_pre_activated_block_needs_no_further_norm() -> None:
    module = marked(PreActivated(), 1, 2, 4, 4)
    keys = list(module.state_dict())
    rewrite = NormBeforeBinarize()
    rewrite.decide([module.graph], module)
    assert rewrite.apply(module.graph, module)
    assert list(module.state_dict()) == keys
    module.recompile()
    model, x = PreActivated().eval(), torch.rand(1, 2, 4, 4)
    model.load_state_dict(module.state_dict())
    expected = F.relu(model.conv2(model.bn2(model.conv1(model.bn1(x)))) + x)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=0)
