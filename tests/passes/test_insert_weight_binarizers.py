import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.binarizers import DoReFaWeightBinarizer, XNORWeightBinarizer
from fxbin.config import Params
from fxbin.passes import InsertWeightBinarizers
from tests.passes.rewriting import assert_leaves_alone, assert_rewrites, inlined, insert_weights, marked
from tests.passes.small_models import Branch, Functional, NoConv, OneConv, TwiceCalled


def test_weight_goes_through_a_binarizer() -> None:
    assert_rewrites(
        insert_weights(),
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
            conv_weight_binarizer = call_module conv.weight_binarizer(conv_weight)
            conv2d = call_function conv2d(x, conv_weight_binarizer, conv_bias, (1, 1), (1, 1), (1, 1), 1)
            output = output output(conv2d)
        """,
    )


def test_calls_that_share_a_weight_share_its_binarizer() -> None:
    module = inlined(TwiceCalled(bias=False), 1, 2, 4, 4)
    assert_rewrites(
        insert_weights(),
        module,
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
            conv_weight_binarizer = call_module conv.weight_binarizer(conv_weight)
            conv2d = call_function conv2d(x, conv_weight_binarizer, None, (1, 1), (1, 1), (1, 1), 1)
            conv_weight_1 = get_attr conv.weight()
            conv_weight_binarizer_1 = call_module conv.weight_binarizer(conv_weight_1)
            conv2d_1 = call_function conv2d(conv2d, conv_weight_binarizer_1, None, (1, 1), (1, 1), (1, 1), 1)
            output = output output(conv2d_1)
        """,
    )
    assert list(module.state_dict()) == [
        "conv.weight",
        "conv.weight_binarizer.enabled",
        "conv.weight_binarizer.mode_xnor",
    ]


def test_weight_of_a_function_gets_its_binarizer_beside_the_parameter() -> None:
    assert_rewrites(
        insert_weights(),
        inlined(Functional(), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            kernel = get_attr kernel()
            conv2d = call_function conv2d(x, weight=kernel)
            output = output output(conv2d)
        """,
        after="""
            x = placeholder x()
            kernel = get_attr kernel()
            kernel_binarizer = call_module kernel_binarizer(kernel)
            conv2d = call_function conv2d(x, weight=kernel_binarizer)
            output = output output(conv2d)
        """,
    )


class Standardized(OneConv):
    def forward(self, x: Tensor) -> Tensor:
        w = self.conv.weight - self.conv.weight.mean()
        return F.conv2d(x, w, padding=1)


def test_computed_weight_is_binarized_after_the_computation() -> None:
    assert_rewrites(
        insert_weights(),
        inlined(Standardized(bias=False), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            conv_weight = get_attr conv.weight()
            mean = call_method mean(conv_weight)
            conv_weight_1 = get_attr conv.weight()
            sub = call_function sub(conv_weight_1, mean)
            conv2d = call_function conv2d(x, sub, padding=1)
            output = output output(conv2d)
        """,
        after="""
            x = placeholder x()
            conv_weight = get_attr conv.weight()
            mean = call_method mean(conv_weight)
            conv_weight_1 = get_attr conv.weight()
            sub = call_function sub(conv_weight_1, mean)
            weight_binarizer = call_module weight_binarizer(sub)
            conv2d = call_function conv2d(x, weight_binarizer, padding=1)
            output = output output(conv2d)
        """,
    )


def test_other_graphs_are_left_alone() -> None:
    assert_leaves_alone(insert_weights(), marked(NoConv(), 1, 2, 4, 4))
    assert_leaves_alone(insert_weights(), inlined(Branch(), 1, 2, 4, 4, keep="Conv2d"))


@pytest.mark.parametrize(("mode", "kind"), [("xnor", XNORWeightBinarizer), ("dorefa", DoReFaWeightBinarizer)])
def test_mode_chooses_the_binarizer(mode: str, kind: type[nn.Module]) -> None:
    module = inlined(OneConv(), 1, 2, 4, 4)
    InsertWeightBinarizers(mode, Params()).apply(module.graph, module)
    assert type(module.get_submodule("conv.weight_binarizer")) is kind


def test_enabled_binarizer_gives_sign_times_mean() -> None:
    model = Functional()
    module = inlined(model, 1, 2, 4, 4)
    insert_weights().apply(module.graph, module)
    module.recompile()
    x, w = torch.rand(2, 2, 4, 4), model.kernel.detach() - 0.5
    with torch.no_grad():
        model.kernel.copy_(w)
        module.get_submodule("kernel_binarizer").enable()  # type: ignore[operator]
        expected = torch.einsum(
            "nihw,oi->nohw", x, (w.sign() * w.abs().mean((1, 2, 3), keepdim=True))[..., 0, 0]
        )
        torch.testing.assert_close(module(x), expected)
