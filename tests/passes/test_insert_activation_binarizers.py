# ruff: noqa: E501 (one line a node)

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.binarizers import ActivationBinarizer
from fxbin.config import Params
from fxbin.passes import InsertActivationBinarizers
from tests.passes.rewriting import assert_leaves_alone, assert_rewrites, inlined, insert_activations, marked
from tests.passes.small_models import Branch, Functional, NoConv, OneConv, TwiceCalled


def test_input_goes_through_a_binarizer() -> None:
    assert_rewrites(
        insert_activations(),
        inlined(OneConv(), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            conv_weight = get_attr conv.weight()
            conv_bias = get_attr conv.bias()
            conv2d = call_function conv2d(x, conv_weight, conv_bias, (1, 1), (1, 1), (1, 1), 1)
            output = output output(conv2d)
        """,
        after="""
            x = placeholder x()
            conv_weight = get_attr conv.weight()
            conv_bias = get_attr conv.bias()
            conv_activation_binarizer = call_module conv.activation_binarizer(x)
            conv2d = call_function conv2d(conv_activation_binarizer, conv_weight, conv_bias, (1, 1), (1, 1), (1, 1), 1)
            output = output output(conv2d)
        """,
    )


def test_shared_conv_gets_one_binarizer_per_call_site() -> None:
    assert_rewrites(
        insert_activations(),
        inlined(TwiceCalled(bias=False), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            conv_weight = get_attr conv.weight()
            conv2d = call_function conv2d(x, conv_weight, None, (1, 1), (1, 1), (1, 1), 1)
            conv_weight_1 = get_attr conv.weight()
            conv2d_1 = call_function conv2d(conv2d, conv_weight_1, None, (1, 1), (1, 1), (1, 1), 1)
            output = output output(conv2d_1)
        """,
        after="""
            x = placeholder x()
            conv_weight = get_attr conv.weight()
            conv_activation_binarizer = call_module conv.activation_binarizer(x)
            conv2d = call_function conv2d(conv_activation_binarizer, conv_weight, None, (1, 1), (1, 1), (1, 1), 1)
            conv_weight_1 = get_attr conv.weight()
            conv_activation_binarizer_1 = call_module conv.activation_binarizer_1(conv2d)
            conv2d_1 = call_function conv2d(conv_activation_binarizer_1, conv_weight_1, None, (1, 1), (1, 1), (1, 1), 1)
            output = output output(conv2d_1)
        """,
    )


def test_padding_of_the_module_comes_after_the_binarizer() -> None:
    assert_rewrites(
        insert_activations(),
        inlined(OneConv(padding_mode="reflect", bias=False), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            pad = call_function pad(x, (1, 1, 1, 1), mode='reflect')
            conv_weight = get_attr conv.weight()
            conv2d = call_function conv2d(pad, conv_weight, None, (1, 1), (0, 0), (1, 1), 1)
            output = output output(conv2d)
        """,
        after="""
            x = placeholder x()
            conv_activation_binarizer = call_module conv.activation_binarizer(x)
            pad = call_function pad(conv_activation_binarizer, (1, 1, 1, 1), mode='reflect')
            conv_weight = get_attr conv.weight()
            conv2d = call_function conv2d(pad, conv_weight, None, (1, 1), (0, 0), (1, 1), 1)
            output = output output(conv2d)
        """,
    )


def test_other_users_of_the_input_keep_it() -> None:
    assert_rewrites(
        insert_activations(),
        inlined(Branch(), 1, 2, 4, 4, keep="left"),
        before="""
            x = placeholder x()
            left = call_module left(x)
            right_weight = get_attr right.weight()
            conv2d = call_function conv2d(x, right_weight, None, (1, 1), (0, 0), (1, 1), 1)
            add = call_function add(left, conv2d)
            output = output output(add)
        """,
        after="""
            x = placeholder x()
            left = call_module left(x)
            right_weight = get_attr right.weight()
            right_activation_binarizer = call_module right.activation_binarizer(x)
            conv2d = call_function conv2d(right_activation_binarizer, right_weight, None, (1, 1), (0, 0), (1, 1), 1)
            add = call_function add(left, conv2d)
            output = output output(add)
        """,
    )


class WeightFirst(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(weight=self.kernel, input=x)


def test_arguments_by_keyword_may_come_in_any_order() -> None:
    assert_rewrites(
        insert_activations(),
        inlined(WeightFirst(), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            kernel = get_attr kernel()
            conv2d = call_function conv2d(weight=kernel, input=x)
            output = output output(conv2d)
        """,
        after="""
            x = placeholder x()
            kernel = get_attr kernel()
            activation_binarizer = call_module activation_binarizer(x)
            conv2d = call_function conv2d(weight=kernel, input=activation_binarizer)
            output = output output(conv2d)
        """,
    )


def test_other_graphs_are_left_alone() -> None:
    assert_leaves_alone(insert_activations(), marked(NoConv(), 1, 2, 4, 4))
    assert_leaves_alone(insert_activations(), inlined(Branch(), 1, 2, 4, 4, keep="Conv2d"))


def test_threshold_has_one_value_per_channel_of_the_input_of_a_depthwise_conv() -> None:
    module = inlined(OneConv(groups=2), 1, 2, 4, 4)
    InsertActivationBinarizers("xnor", Params(), lr_multiplier=0.5).apply(module.graph, module)
    binarizer = module.get_submodule("conv.activation_binarizer")
    assert isinstance(binarizer, ActivationBinarizer)
    assert binarizer.threshold.shape == (1, 2, 1, 1)
    assert binarizer.lr_multiplier == 0.5
    assert binarizer.name == "OneConv/NNCFConv2d[conv]/conv2d_0"


def test_enabled_binarizer_gives_zero_and_scale() -> None:
    model = OneConv(bias=False)
    nn.init.dirac_(model.conv.weight)
    module = inlined(model, 1, 2, 4, 4)
    insert_activations().apply(module.graph, module)
    module.recompile()
    binarizer = module.get_submodule("conv.activation_binarizer")
    assert isinstance(binarizer, ActivationBinarizer)
    binarizer.enable()
    x = torch.tensor([-1.0, 0.0, 0.5, 0.50001, 2.0]).repeat(1, 2, 1, 1)
    expected = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]).repeat(1, 2, 1, 1)  # s = 1, t = 1/2
    assert torch.equal(module(x), expected)
