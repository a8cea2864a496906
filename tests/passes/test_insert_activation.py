import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fxbin.added import Hardtanh, RPReLU
from fxbin.passes import AddShortcuts, InsertHardtanh, InsertRPReLU
from fxbin.passes.insert_activation import InsertActivation
from tests.passes.blocks import Plain, PreActivated, Residual, conv
from tests.passes.rewriting import assert_rewrites_network, listing, marked, reasons


@pytest.mark.parametrize(("pass_", "layer"), [(InsertRPReLU(), RPReLU), (InsertHardtanh(), Hardtanh)])
def test_it_takes_the_place_of_the_relu_behind_the_sum_of_a_block(
    pass_: InsertActivation, layer: type[nn.Module]
) -> None:
    module = marked(Residual(), 1, 2, 4, 4)
    assert reasons(pass_, module) == {
        "conv1": 'no sum with a shortcut follows it: the rewrite "shortcuts" may add one',
        "conv2": "",
    }
    assert_rewrites_network(
        pass_,
        module,
        before=listing(module),
        after=f"""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            relu = call_module relu(bn1)
            conv2 = call_module conv2(relu)
            bn2 = call_module bn2(conv2)
            iadd = call_function iadd(bn2, x)
            conv2_{pass_.key} = call_module conv2.{pass_.key}(iadd)
            output = output output(conv2_{pass_.key})
        """,
    )
    assert isinstance(module.get_submodule(f"conv2.{pass_.key}"), layer)


def with_shortcuts(module: fx.GraphModule) -> fx.GraphModule:
    """`module`, rewritten so that each of its binarized convolutions has a shortcut."""
    shortcuts = AddShortcuts()
    shortcuts.decide([module.graph], module)
    shortcuts.apply(module.graph, module)
    return module


def test_with_shortcuts_each_convolution_gets_one() -> None:
    module = with_shortcuts(marked(Residual(2, 4, stride=2), 1, 2, 4, 4, keep="downsample"))
    assert_rewrites_network(
        InsertRPReLU(),
        module,
        before=listing(module),
        after="""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            downsample_0 = call_module downsample.0(x)
            downsample_1 = call_module downsample.1(downsample_0)
            add = call_function add(bn1, downsample_1)
            conv1_rprelu = call_module conv1.rprelu(add)
            conv2 = call_module conv2(conv1_rprelu)
            bn2 = call_module bn2(conv2)
            add_1 = call_function add(bn2, conv1_rprelu)
            conv2_rprelu = call_module conv2.rprelu(add_1)
            output = output output(conv2_rprelu)
        """,
    )


def test_of_a_binarized_shortcut_only_the_sum_behind_it_gets_one() -> None:
    module = with_shortcuts(marked(Residual(2, 4, stride=2), 1, 2, 4, 4))
    assert reasons(InsertRPReLU(), module) == {
        "conv1": "",
        "downsample_0": "its sum goes into another sum alone",
        "conv2": "",
    }


class Linear(nn.Module):
    """A block without an activation behind the sum."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.bn, self.activation = conv(2, 2), nn.BatchNorm2d(2), activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x)) + x
        y = y if self.activation is None else self.activation(y)
        return F.max_pool2d(y, 2) + F.avg_pool2d(y, 2)


def test_without_a_relu_it_is_inserted_behind_the_sum() -> None:
    module = marked(Linear(), 1, 2, 4, 4)
    assert_rewrites_network(
        InsertRPReLU(),
        module,
        before=listing(module),
        after="""
            x = placeholder x()
            conv = call_module conv(x)
            bn = call_module bn(conv)
            add = call_function add(bn, x)
            conv_rprelu = call_module conv.rprelu(add)
            max_pool2d = call_function max_pool2d(conv_rprelu, 2)
            avg_pool2d = call_function avg_pool2d(conv_rprelu, 2)
            add_1 = call_function add(max_pool2d, avg_pool2d)
            output = output output(add_1)
        """,
    )


def test_other_activations_hooks_and_outputs_are_left_alone() -> None:
    hooked = nn.ReLU()
    model = Linear(hooked)
    module = marked(model, 1, 2, 4, 4)
    hooked.register_forward_hook(lambda *_: None)
    assert reasons(InsertRPReLU(), module) == {"conv": "activation has hooks, which run around the ReLU"}
    assert reasons(InsertRPReLU(), marked(Linear(nn.SiLU()), 1, 2, 4, 4)) == {
        "conv": "its sum goes into activation, an activation other than ReLU"
    }

    class Returned(Linear):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.bn(self.conv(x)) + x
            return y

    assert reasons(InsertRPReLU(), marked(Returned(), 1, 2, 4, 4)) == {
        "conv": "its sum is what the graph returns, and what follows is not known"
    }


class Tokens(nn.Module):
    """Adds up what is no picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix = conv(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).flatten(2).transpose(1, 2) + x.flatten(2).transpose(1, 2)
        return F.relu(self.mix(F.relu(y)))


def test_a_sum_of_tokens_is_none_of_a_convolution() -> None:
    (reason,) = reasons(InsertRPReLU(), marked(Tokens(), 1, 2, 4, 4)).values()
    assert reason.startswith("no sum with a shortcut follows it")


class SeenAfterwards(Linear):
    """Reads the sum again after a ReLU that works in place."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x)) + x
        z = F.relu(y, inplace=True)
        return torch.cat([y, z])


def test_what_a_relu_in_place_overwrites_is_read_behind_rprelu() -> None:
    module = marked(SeenAfterwards(), 1, 2, 4, 4)
    rewrite = InsertRPReLU()
    rewrite.decide([module.graph], module)
    rewrite.apply(module.graph, module)
    module.graph.lint()
    assert "cat([conv_rprelu, conv_rprelu])" in listing(module)


def test_a_relu_elsewhere_stays() -> None:
    module = marked(PreActivated(), 1, 2, 4, 4)
    rewrite = InsertRPReLU()
    rewrite.decide([module.graph], module)
    rewrite.apply(module.graph, module)
    assert listing(module).count("call_function relu(") == 2  # in front of the convolutions
    assert reasons(rewrite, marked(Plain(), 1, 2, 4, 4)) == {
        "conv": 'no sum with a shortcut follows it: the rewrite "shortcuts" may add one'
    }


def test_where_shortcuts_has_added_none_it_is_not_advised() -> None:
    layers = (conv(4, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 6), nn.BatchNorm2d(6), nn.ReLU())
    found = reasons(InsertRPReLU(), with_shortcuts(marked(nn.Sequential(*layers), 1, 4, 4, 4)))
    assert found == {"_0": 'no sum with a shortcut follows it, and "shortcuts" has added none', "_3": ""}
