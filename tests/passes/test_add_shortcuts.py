from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.graph.call_site import call_sites
from fxbin.graph.record import TensorSpec, spec_of
from fxbin.passes import AddShortcuts
from tests.passes.blocks import Bottleneck, Plain, PreActivated, Residual, conv
from tests.passes.rewriting import assert_rewrites_network, listing, marked, reasons


def test_the_shortcut_of_a_block_becomes_that_of_its_first_convolution() -> None:
    assert_rewrites_network(
        AddShortcuts(),
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
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            add = call_function add(bn1, x)
            relu = call_module relu(add)
            conv2 = call_module conv2(relu)
            bn2 = call_module bn2(conv2)
            add_1 = call_function add(bn2, relu)
            relu_1 = call_module relu(add_1)
            output = output output(relu_1)
        """,
    )


def test_a_shortcut_with_a_convolution_runs_before_the_second_convolution() -> None:
    assert_rewrites_network(
        AddShortcuts(),
        marked(Residual(2, 4, stride=2), 1, 2, 4, 4, keep="downsample"),
        before="""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            relu = call_module relu(bn1)
            conv2 = call_module conv2(relu)
            bn2 = call_module bn2(conv2)
            downsample_0 = call_module downsample.0(x)
            downsample_1 = call_module downsample.1(downsample_0)
            iadd = call_function iadd(bn2, downsample_1)
            relu_1 = call_module relu(iadd)
            output = output output(relu_1)
        """,
        after="""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            downsample_0 = call_module downsample.0(x)
            downsample_1 = call_module downsample.1(downsample_0)
            add = call_function add(bn1, downsample_1)
            relu = call_module relu(add)
            conv2 = call_module conv2(relu)
            bn2 = call_module bn2(conv2)
            add_1 = call_function add(bn2, relu)
            relu_1 = call_module relu(add_1)
            output = output output(relu_1)
        """,
    )


def test_before_norms_shortcuts_stay_on_the_stream() -> None:
    assert_rewrites_network(
        AddShortcuts(),
        marked(PreActivated(), 1, 2, 4, 4),
        before="""
            x = placeholder x()
            bn1 = call_module bn1(x)
            relu = call_function relu(bn1)
            conv1 = call_module conv1(relu)
            bn2 = call_module bn2(conv1)
            relu_1 = call_function relu(bn2)
            conv2 = call_module conv2(relu_1)
            add = call_function add(conv2, x)
            relu_2 = call_function relu(add)
            output = output output(relu_2)
        """,
        after="""
            x = placeholder x()
            bn1 = call_module bn1(x)
            relu = call_function relu(bn1)
            conv1 = call_module conv1(relu)
            add_1 = call_function add(conv1, x)
            bn2 = call_module bn2(add_1)
            relu_1 = call_function relu(bn2)
            conv2 = call_module conv2(relu_1)
            add_2 = call_function add(conv2, add_1)
            relu_2 = call_function relu(add_2)
            output = output output(relu_2)
        """,
    )


def test_only_the_middle_of_a_bottleneck_gets_a_shortcut() -> None:
    module = marked(Bottleneck(), 1, 4, 4, 4)
    assert reasons(AddShortcuts(), module) == {
        "conv1": "channels go from 4 to 2, which is no multiple, and a 1x1 convolution in full precision "
        "would cost as much as the convolution itself",
        "conv2": "",
        "conv3": "it has a shortcut: that of its residual block, which does not fit an earlier convolution",
    }
    assert_rewrites_network(
        AddShortcuts(),
        module,
        before=listing(module),
        after="""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            relu = call_function relu(bn1)
            conv2 = call_module conv2(relu)
            bn2 = call_module bn2(conv2)
            add_1 = call_function add(bn2, relu)
            relu_1 = call_function relu(add_1)
            conv3 = call_module conv3(relu_1)
            bn3 = call_module bn3(conv3)
            add = call_function add(bn3, x)
            relu_2 = call_function relu(add)
            output = output output(relu_2)
        """,
    )


def test_pooling_and_repeated_channels_fit_the_input_to_the_output() -> None:
    assert_rewrites_network(
        AddShortcuts(),
        marked(Plain(2, 4, stride=2), 1, 2, 5, 5),
        before="""
            x = placeholder x()
            conv = call_module conv(x)
            bn = call_module bn(conv)
            relu = call_function relu(bn)
            output = output output(relu)
        """,
        after="""
            x = placeholder x()
            conv = call_module conv(x)
            bn = call_module bn(conv)
            avg_pool2d = call_function avg_pool2d(x, (2, 2), (2, 2), ceil_mode=True, count_include_pad=False)
            cat = call_function cat([avg_pool2d, avg_pool2d], dim=1)
            add = call_function add(bn, cat)
            relu = call_function relu(add)
            output = output output(relu)
        """,
    )


def test_other_numbers_of_channels_need_a_convolution() -> None:
    module = marked(Plain(2, 3), 1, 2, 4, 4)
    assert_rewrites_network(
        AddShortcuts(),
        module,
        before=listing(module),
        after="""
            x = placeholder x()
            conv = call_module conv(x)
            bn = call_module bn(conv)
            conv_shortcut_conv = call_module conv.shortcut.conv(x)
            conv_shortcut_norm = call_module conv.shortcut.norm(conv_shortcut_conv)
            add = call_function add(bn, conv_shortcut_norm)
            relu = call_function relu(add)
            output = output output(relu)
        """,
    )
    added = [
        site
        for site in call_sites(module, module.graph)
        if site.info.decision and site.info.decision.is_added
    ]
    assert [site.info.name for site in added] == [
        "Plain/NNCFConv2d[conv]/Projection[shortcut]/Conv2d[conv]/conv2d_0"
    ]
    assert [key for key in module.state_dict() if "shortcut" in key][:2] == [
        "conv.shortcut.conv.weight",
        "conv.shortcut.norm.weight",
    ]


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 2, 1, 1), (1, 2, 0, 1), (2, 2, 0, 1), (5, 3, 2, 1), (3, 2, 2, 2), (4, 2, 1, 1), (3, 3, 0, 1)],
)
def test_sizes_of_sums_agree_and_specs_say_them(
    kernel: int, stride: int, padding: int, dilation: int, size: int
) -> None:
    module = marked(Plain(2, 2, kernel, stride=stride, padding=padding, dilation=dilation), 1, 2, 9, 9)
    rewrite = AddShortcuts()
    rewrite.decide([module.graph], module)
    assert rewrite.apply(module.graph, module)
    module.recompile()
    x = torch.rand(2, 2, size, size)
    assert module(x).shape == module.conv(x).shape  # type: ignore[operator]
    shapes = {node.name: spec_of(node) for node in module.graph.nodes}
    assert shapes["avg_pool2d"] == shapes["add"] == TensorSpec(shapes["conv"].shape, torch.float32)


@pytest.mark.parametrize(
    ("module", "shape", "reason"),
    [
        (Plain(2, 2, padding=0), (1, 2, 8, 8), "its output of 6x6 for an input of 8x8 has another size"),
        (Plain(2, 2, padding=0), (1, 2, 3, 3), "its output of 1x1 for an input of 3x3 has another size"),
        (Plain(4, 2, 1), (1, 4, 8, 8), "channels go from 4 to 2, which is no multiple"),
        (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), Plain(2, 4, 1)),
            (1, 2, 4, 4),
            "its input is a picture pooled to",
        ),
        (conv(2, 2), (1, 2, 8, 8), "its output is what the graph returns"),
        (
            nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1), nn.ReLU()),
            (1, 2, 2, 2),
            "its shortcut would need a BatchNorm, but a batch of one picture has one value",
        ),
        (nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1), nn.ReLU()), (1, 2, 4, 4), ""),
        (Plain(2, 3, stride=2), (1, 2, 2, 2), ""),
    ],
)
def test_a_call_site_that_is_left_alone_has_a_reason(
    module: nn.Module, shape: tuple[int, ...], reason: str
) -> None:
    (found,) = reasons(AddShortcuts(), marked(nn.Sequential(module), *shape)).values()
    assert found.startswith(reason)
    assert bool(found) is bool(reason)


def test_a_picture_of_one_pixel_that_a_convolution_made_is_a_picture() -> None:
    model = nn.Sequential(Plain(2, 2, stride=2), Plain(2, 4, 1))
    assert [*reasons(AddShortcuts(), marked(model, 1, 2, 2, 2)).values()] == ["", ""]
    assert [*reasons(AddShortcuts(), marked(Plain(2, 2, 1), 1, 2, 1, 1)).values()] == [""]


def test_a_binarized_shortcut_has_a_shortcut_of_its_own() -> None:
    module = marked(Residual(2, 4, stride=2), 1, 2, 4, 4)
    assert_rewrites_network(
        AddShortcuts(),
        module,
        before=listing(module),
        after="""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            downsample_0 = call_module downsample.0(x)
            downsample_1 = call_module downsample.1(downsample_0)
            avg_pool2d = call_function avg_pool2d(x, (2, 2), (2, 2), ceil_mode=True, count_include_pad=False)
            cat = call_function cat([avg_pool2d, avg_pool2d], dim=1)
            add_2 = call_function add(downsample_1, cat)
            add = call_function add(bn1, add_2)
            relu = call_module relu(add)
            conv2 = call_module conv2(relu)
            bn2 = call_module bn2(conv2)
            add_1 = call_function add(bn2, relu)
            relu_1 = call_module relu(add_1)
            output = output output(relu_1)
        """,
    )


class Single(nn.Module):
    """A block with one convolution, which has a shortcut already."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = conv(2, 2), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)) + x)


def test_a_convolution_that_has_a_shortcut_is_left_alone() -> None:
    assert reasons(AddShortcuts(), marked(Single(), 1, 2, 4, 4)) == {
        "conv": "it has a shortcut: it is the only convolution between its input and a sum with that input"
    }


class Weighted(nn.Module):
    """A block whose sum is computed by `add`."""

    def __init__(self, add: Callable[[Tensor, Tensor], Tensor], convs: int = 1) -> None:
        super().__init__()
        self.add = add
        self.body = nn.Sequential(*(Plain() for _ in range(convs)))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.add(self.body(x), x))


@pytest.mark.parametrize(
    "add",
    [
        lambda y, x: torch.add(y, x, alpha=0.5),
        lambda y, x: torch.add(y, other=x),
        lambda y, x: y.add(x, alpha=2),
        lambda y, x: y.add_(x, alpha=0.5),
        lambda y, x: x - 0.1 * y,
        lambda y, x: torch.sub(y, x, alpha=0.5),
        torch.rsub,
        lambda y, x: y.sub(x),
    ],
)
def test_sums_with_factors_and_differences_are_shortcuts(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    only = "it has a shortcut: it is the only convolution between its input and a sum with that input"
    assert [*reasons(AddShortcuts(), marked(Weighted(add), 1, 2, 4, 4)).values()] == [only]


def test_a_shortcut_with_a_factor_stays_where_it_is() -> None:
    module = marked(Weighted(lambda y, x: torch.add(y, x, alpha=0.5), 2), 1, 2, 4, 4)
    first, last = reasons(AddShortcuts(), module).values()
    assert first == ""
    assert last == (
        "it has a shortcut: that of its residual block, which cannot end earlier: its sum has a factor, or "
        "is a difference"
    )


class Overwriting(nn.Module):
    """Changes the input of the convolution before the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = conv(2, 2), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 2
        y = self.conv(x)
        x.view(-1).add_(1)
        return F.relu(self.bn(y)) + x.sum()


def test_an_input_that_is_overwritten_is_not_added() -> None:
    assert reasons(AddShortcuts(), marked(Overwriting(), 1, 2, 4, 4)) == {
        "conv": "its input is overwritten by add_, which works in place"
    }


def test_a_block_with_a_convolution_in_full_precision_keeps_its_shortcut() -> None:
    module = marked(Residual(), 1, 2, 4, 4, keep="[conv2]")
    assert reasons(AddShortcuts(), module) == {"conv1": ""}
    assert_rewrites_network(
        AddShortcuts(),
        module,
        before=listing(module),
        after="""
            x = placeholder x()
            conv1 = call_module conv1(x)
            bn1 = call_module bn1(conv1)
            add = call_function add(bn1, x)
            relu = call_module relu(add)
            conv2 = call_module conv2(relu)
            bn2 = call_module bn2(conv2)
            iadd = call_function iadd(bn2, x)
            relu_1 = call_module relu(iadd)
            output = output output(relu_1)
        """,
    )


class InPlaceShortcut(Residual):
    """Its shortcut ends with a ReLU that works in place."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.relu(self.downsample(x)))  # type: ignore[misc, no-any-return]


def test_a_shortcut_may_work_in_place_on_its_own_values() -> None:
    module = marked(InPlaceShortcut(2, 4, stride=2), 1, 2, 4, 4, keep="downsample")
    rewrite = AddShortcuts()
    rewrite.decide([module.graph], module)
    assert rewrite.apply(module.graph, module)
    names = [node.name for node in module.graph.nodes]
    assert names.index("bn1") < names.index("downsample_1") < names.index("conv2")


class Pooled(Residual):
    """Lowers the resolution behind the last convolution."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(F.avg_pool2d(y, 2) + F.max_pool2d(x, 2))  # type: ignore[no-any-return]


class OverwrittenFork(Residual):
    """Changes its input in place before it is added."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        x.mul_(2)
        return self.relu(y + x)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Pooled(), "that of its residual block, which does not fit an earlier convolution"),
        (
            OverwrittenFork(),
            "that of its residual block, which cannot end earlier: it is overwritten on the way",
        ),
    ],
)
def test_a_shortcut_that_cannot_end_earlier_stays(model: nn.Module, reason: str) -> None:
    found = reasons(AddShortcuts(), marked(model, 1, 2, 4, 4))
    assert found["conv2"] == f"it has a shortcut: {reason}"


class Twice(nn.Module):
    """Calls one convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(2, 3)
        self.back = conv(3, 2)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn(self.conv(x)))
        return F.relu(self.bn(self.conv(self.back(y))))


def test_each_call_of_a_convolution_has_a_shortcut_of_its_own() -> None:
    module = marked(Twice(), 1, 2, 4, 4, keep="back")
    rewrite = AddShortcuts()
    rewrite.decide([module.graph], module)
    rewrite.apply(module.graph, module)
    called = [str(node.target) for node in module.graph.nodes if "shortcut" in str(node.target)]
    assert called == [f"conv.shortcut{i}.{name}" for i in ("", "_1") for name in ("conv", "norm")]
