import torch
import torch.nn.functional as F
from torch import nn

from fxbin.passes import InlineConv2d
from tests.passes.rewriting import assert_leaves_alone, assert_rewrites, captured, inlined, marked
from tests.passes.small_models import Branch, Functional, NoConv, OneConv, TwiceCalled


def test_module_becomes_the_function_on_its_parameters() -> None:
    assert_rewrites(
        InlineConv2d(),
        marked(OneConv(stride=2, dilation=2, groups=2), 1, 2, 8, 8),
        before="""
            x = placeholder x()
            conv = call_module conv(x)
            output = output output(conv)
        """,
        after="""
            x = placeholder x()
            conv_weight = get_attr conv.weight()
            conv_bias = get_attr conv.bias()
            conv2d = call_function conv2d(x, conv_weight, conv_bias, (2, 2), (1, 1), (2, 2), 2)
            output = output output(conv2d)
        """,
    )


def test_padding_other_than_zeros_becomes_a_node() -> None:
    assert_rewrites(
        InlineConv2d(),
        marked(OneConv(padding_mode="reflect", bias=False), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            conv = call_module conv(x)
            output = output output(conv)
        """,
        after="""
            x = placeholder x()
            pad = call_function pad(x, (1, 1, 1, 1), mode='reflect')
            conv_weight = get_attr conv.weight()
            conv2d = call_function conv2d(pad, conv_weight, None, (1, 1), (0, 0), (1, 1), 1)
            output = output output(conv2d)
        """,
    )


def test_each_call_of_a_shared_module_is_inlined() -> None:
    assert_rewrites(
        InlineConv2d(),
        marked(TwiceCalled(bias=False), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            conv = call_module conv(x)
            conv_1 = call_module conv(conv)
            output = output output(conv_1)
        """,
        after="""
            x = placeholder x()
            conv_weight = get_attr conv.weight()
            conv2d = call_function conv2d(x, conv_weight, None, (1, 1), (1, 1), (1, 1), 1)
            conv_weight_1 = get_attr conv.weight()
            conv2d_1 = call_function conv2d(conv2d, conv_weight_1, None, (1, 1), (1, 1), (1, 1), 1)
            output = output output(conv2d_1)
        """,
    )


def test_conv_in_full_precision_stays_a_module() -> None:
    assert_rewrites(
        InlineConv2d(),
        marked(Branch(), 1, 2, 4, 4, keep="left"),
        before="""
            x = placeholder x()
            left = call_module left(x)
            right = call_module right(x)
            add = call_function add(left, right)
            output = output output(add)
        """,
        after="""
            x = placeholder x()
            left = call_module left(x)
            right_weight = get_attr right.weight()
            conv2d = call_function conv2d(x, right_weight, None, (1, 1), (0, 0), (1, 1), 1)
            add = call_function add(left, conv2d)
            output = output output(add)
        """,
    )


def test_other_graphs_are_left_alone() -> None:
    assert_leaves_alone(InlineConv2d(), captured(NoConv(), 1, 2, 4, 4))
    assert_leaves_alone(InlineConv2d(), captured(OneConv(), 1, 2, 4, 4))  # nothing decided yet
    assert_leaves_alone(InlineConv2d(), marked(Functional(), 1, 2, 4, 4))


def test_parameters_keep_their_names() -> None:
    model = OneConv()
    assert list(inlined(model, 1, 2, 4, 4).state_dict()) == ["conv.weight", "conv.bias"]


def test_result_is_that_of_the_module_bit_for_bit() -> None:
    x = torch.rand(2, 2, 9, 9)
    for options in (
        {"padding_mode": "circular"},
        {"padding_mode": "replicate", "stride": 2},
        {"padding_mode": "reflect", "dilation": 2},
        {"bias": False},
    ):
        model = OneConv(**options).eval()
        assert torch.equal(inlined(model, 1, 2, 9, 9)(x), model(x)), options


def test_string_padding_is_kept() -> None:
    class Same(nn.Module):
        def __init__(self, mode: str) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, (5, 3), padding="same", padding_mode=mode)  # type: ignore[arg-type]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.conv(x))

    x = torch.rand(2, 2, 9, 9)
    for mode in ("zeros", "reflect", "circular"):
        model = Same(mode)
        assert torch.equal(inlined(model, 1, 2, 9, 9)(x), model(x)), mode


def test_call_in_full_precision_of_a_module_that_is_binarized_elsewhere_is_inlined_too() -> None:
    module = captured(TwiceCalled(), 1, 2, 4, 4)
    assert InlineConv2d(frozenset({"conv"})).apply(module.graph, module)
    assert [node.op for node in module.graph.nodes if "conv2d" in str(node.target)] == ["call_function"] * 2
