"""Every kind of conv2d call site gives the same numbers in PyTorch, onnxruntime and OpenVINO."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarizers import ActivationBinarizer
from fxbin.export import ExportMode, export_onnx
from fxbin.export.plan import plan_export
from fxbin.lowering.prepare import prepare

Binarize = Callable[..., BinarizedModule]


class AroundConv(nn.Module):
    """A float layer, one binarized convolution, a float layer; only the middle one is a conv2d."""

    def __init__(self, in_channels: int = 16, **options: Any) -> None:
        super().__init__()
        self.stem = nn.Linear(3, in_channels)
        self.conv = nn.Conv2d(in_channels, options.pop("out_channels", 24), **options)
        self.head = nn.Linear(self.conv.out_channels, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(self.conv(x).mean((2, 3)))


X = torch.linspace(-2, 2, 2 * 3 * 12 * 12).sin().mul(7).cos().view(2, 3, 12, 12)


@pytest.mark.parametrize("mode", ["xnor", "dorefa"])
@pytest.mark.parametrize("weights", ["packed", "float"])
def test_both_modes_and_both_storages_run_in_one_bit(
    check: Any, binarize: Binarize, mode: str, weights: str
) -> None:
    check(binarize(AroundConv(kernel_size=3), X, mode), X, one_bit=1, weights=weights)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False},
        {"kernel_size": (1, 3), "stride": (2, 1), "padding": (0, 1)},
        {"kernel_size": 3, "dilation": 2, "padding": 2},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "padding": "valid"},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
        {"kernel_size": 3, "padding": (2, 1), "padding_mode": "circular"},
        {"kernel_size": 3, "out_channels": 5},
    ],
    ids=str,
)
def test_what_the_kernel_takes_needs_no_change(check: Any, binarize: Binarize, options: Any) -> None:
    report = check(binarize(AroundConv(**options), X), X, one_bit=1)
    assert report.sites[0].reason == ""


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # PyTorch's, about speed
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"in_channels": 12, "kernel_size": 3}, "4 zero channels added"),
        ({"in_channels": 3, "kernel_size": 3, "padding": 1}, "5 zero channels added"),
        ({"kernel_size": 7, "padding": 3}, "padding (3, 3, 3, 3) moved before the binarizer"),
        ({"kernel_size": 2, "padding": "same"}, "padding (0, 1, 0, 1) moved before the binarizer"),
        (
            {"kernel_size": 3, "padding": (0, 5), "in_channels": 9},
            "7 zero channels added; padding (5, 5, 0, 0)",
        ),
    ],
    ids=str,
)
def test_exact_rewrites_make_the_kernel_take_it(
    check: Any, binarize: Binarize, options: Any, reason: str
) -> None:
    report = check(binarize(AroundConv(**options), X), X, one_bit=1)
    assert report.sites[0].reason.startswith(reason)


def test_padding_wider_than_the_output_is_moved(check: Any, binarize: Binarize) -> None:
    x = X[:, :, :1, :1]
    report = check(binarize(AroundConv(kernel_size=5, padding=2), x), x, one_bit=1)
    assert "padding (2, 2, 2, 2) moved" in report.sites[0].reason


@pytest.mark.parametrize(
    ("options", "params", "reason"),
    [
        ({"kernel_size": 3, "groups": 8}, {}, "it has 8 groups"),
        ({"kernel_size": 3, "groups": 16, "out_channels": 16}, {}, "it has 16 groups"),
        ({"kernel_size": 3}, {"weight_scale_axis": "input"}, "its weight scale varies inside a filter"),
    ],
    ids=str,
)
@pytest.mark.parametrize("weights", ["packed", "float"])
def test_what_the_kernel_gets_wrong_becomes_plain_operators(
    check: Any, binarize: Binarize, options: Any, params: Any, reason: str, weights: str
) -> None:
    report = check(binarize(AroundConv(**options), X, **params), X, one_bit=0, weights=weights)
    assert report.sites[0].mode is ExportMode.FLOAT
    assert report.sites[0].reason == reason


def test_a_weight_count_that_fills_no_byte_is_packed(check: Any, binarize: Binarize) -> None:
    model = AroundConv(in_channels=6, out_channels=9, kernel_size=3, groups=3, bias=False)
    check(binarize(model, X), X, one_bit=0)


def test_values_at_the_threshold_go_down(check: Any, binarize: Binarize) -> None:
    x = torch.zeros(2, 8, 4, 4)
    model = binarize(nn.Conv2d(8, 4, 1), x)
    (site,) = model.binarization.sites.values()
    threshold = site.activation.levels().threshold
    x[0] = threshold.detach()
    x[1] = torch.nextafter(threshold.detach(), torch.tensor(9.0))[0]
    below, above = model(x).detach()
    assert torch.equal(below, model(torch.zeros_like(x))[0])
    assert not torch.allclose(below, above)
    check(model, x, one_bit=1)


def test_infinities_and_nan_compare_as_in_pytorch(check: Any, binarize: Binarize) -> None:
    x = torch.randn(2, 8, 4, 4)
    x[0, 0], x[1, 0, 0] = torch.inf, -torch.inf
    model = binarize(nn.Conv2d(8, 4, 1), x)
    check(model, x, one_bit=1)
    x[0, 1, 0] = torch.nan  # OpenVINO's FakeQuantize treats it otherwise
    np.testing.assert_allclose(check.in_onnxruntime(x), model(x).detach(), rtol=0, atol=1e-4)


class Twice(nn.Module):
    """One convolution, called twice: two call sites share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        return self.conv(self.conv(x))


def test_a_shared_weight_stays_in_one_bit(check: Any, binarize: Binarize) -> None:
    x = torch.randn(1, 8, 6, 6)
    report = check(binarize(Twice(), x), x, one_bit=2)
    assert report.sites[1].reason == "levels scaled by 2, to stay apart from equal ones"


class Branches(nn.Module):
    """Two convolutions read one value."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(8, 16, 1)

    def forward(self, x: Tensor) -> Any:
        return self.left(x) + self.right(x)


def test_equal_constants_on_one_input_stay_apart(check: Any, binarize: Binarize) -> None:
    x = torch.randn(2, 8, 6, 6)
    model = binarize(Branches(), x)
    first, second = model.binarization.sites.values()
    second.activation.load_state_dict(first.activation.state_dict())
    report = check(model, x, one_bit=2)
    assert report.sites[1].reason == "levels scaled by 2, to stay apart from equal ones"


def test_a_binarized_input_with_two_users_is_plain(check: Any, binarize: Binarize) -> None:
    x = torch.randn(2, 8, 6, 6)
    model = binarize(Branches(), x)
    first, second = (node for node in model.graph.nodes if node.name.startswith("conv2d"))
    binarized, other = first.args[0], second.args[0]
    second.args = (binarized, *second.args[1:])
    model.graph.erase_node(other)
    model.recompile()
    report = check(model, x, one_bit=0)
    assert [site.reason for site in report.sites] == ["its binarized input is used elsewhere too"] * 2


class Symmetric(ActivationBinarizer):
    """A binarizer of a user, with the levels -s and s."""

    def binarize(self, x: Tensor) -> Any:
        threshold, _, s = self.levels()
        return torch.where(x > threshold, s, -s)


def test_levels_of_both_signs_are_plain(check: Any, binarize: Binarize) -> None:
    x = torch.randn(2, 8, 6, 6)
    model = binarize(nn.Conv2d(8, 8, 3), x)
    ((name, old),) = [item for item in model.named_modules() if isinstance(item[1], ActivationBinarizer)]
    new = Symmetric(old.threshold.numel())
    new.load_state_dict(old.state_dict())
    new.enable()
    model.set_submodule(name, new)
    report = check(model, x, one_bit=0)
    assert report.sites[0].reason == (
        "Symmetric is not a binarizer whose levels fxbin knows: it overrides binarize, but not levels"
    )


@pytest.mark.filterwarnings("ignore:.*are not fully binarized")
def test_weights_that_have_two_levels_already_are_plain(check: Any, binarize: Binarize) -> None:
    x = torch.randn(2, 8, 6, 6)
    convolution = nn.Conv2d(8, 8, 3)
    with torch.no_grad():
        convolution.weight.sign_().mul_(0.5)
    model = binarize(convolution, x)
    model.binarization.enable(activations=True, weights=False)
    check(model, x, one_bit=0)


class AfterSum(nn.Module):
    """A binarized sum, something on top, and one more binarized convolution."""

    def __init__(self, top: nn.Module) -> None:
        super().__init__()
        self.branches, self.top, self.last = Branches(), top, nn.Conv2d(16, 8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.top(self.branches(x)))


@pytest.mark.parametrize(
    ("top", "is_kept_apart"),
    [
        (nn.BatchNorm2d(16), True),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(16)), True),
        (nn.ReLU(), False),
        (nn.Sequential(nn.BatchNorm2d(16), nn.MaxPool2d(2)), False),
        (nn.Identity(), False),
    ],
    ids=str,
)
def test_a_sum_under_a_batchnorm_is_kept_apart(
    check: Any, binarize: Binarize, top: nn.Module, is_kept_apart: bool
) -> None:
    x = torch.randn(2, 8, 6, 6)
    report = check(binarize(AfterSum(top), x), x, one_bit=3)
    assert ("kept apart from the sum" in report.sites[-1].reason) is is_kept_apart


class InPlace(nn.Module):
    """Values that are changed in place, a view of one, and convolutions that nothing depends on."""

    def __init__(self, into: str) -> None:
        super().__init__()
        self.into = into
        self.first, self.side, self.last = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Any:
        y = self.first(x.neg_())
        y[:, 2:].mul_(2)
        side = self.side(y)
        torch.relu_(side)
        if self.into == "item":
            y[:, :, 1:] = side[:, :, 1:]
        elif self.into == "view":
            y[:, 4:].copy_(side[:, 4:])
        elif self.into == "sum":
            y += side
        return self.last(y)


@pytest.mark.parametrize("into", ["item", "view", "sum"])
def test_what_is_written_in_place_is_in_the_file(check: Any, binarize: Binarize, into: str) -> None:
    x = torch.randn(1, 8, 9, 9)
    model = binarize(InPlace(into), x)
    report = export_onnx(model, check.path, (x,))
    assert report.count(ExportMode.ONE_BIT) == 3
    with torch.no_grad():
        expected = model(x.clone())
    np.testing.assert_allclose(check.in_onnxruntime(x), expected, rtol=0, atol=1e-4)


def test_what_nothing_depends_on_is_left_out(check: Any, binarize: Binarize) -> None:
    x = torch.randn(1, 8, 9, 9)
    report = check(binarize(InPlace("nothing"), x), x, one_bit=2)
    assert [site.mode for site in report.sites] == [
        ExportMode.ONE_BIT,
        ExportMode.LEFT_OUT,
        ExportMode.ONE_BIT,
    ]
    assert report.sites[1].reason == "nothing that the model returns depends on it"


class Functional(nn.Module):
    """`F.conv2d` with a computed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 8, 3, 3))

    def forward(self, x: Tensor) -> Any:
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), padding=1)


def test_a_weight_computed_from_parameters_is_a_constant(check: Any, binarize: Binarize) -> None:
    x = torch.randn(2, 8, 6, 6)
    check(binarize(Functional(), x), x, one_bit=1)


def test_an_input_without_batch_is_plain(check: Any, binarize: Binarize) -> None:
    x = torch.randn(8, 6, 6)
    report = check(binarize(nn.Conv2d(8, 4, 3), x), x, one_bit=0)
    assert report.sites[0].reason == "its input has 3 dimensions, not 4"


def test_float64_is_plain(check: Any, binarize: Binarize) -> None:
    x = torch.randn(1, 8, 6, 6)
    model = binarize(nn.Conv2d(8, 4, 3), x).double()
    report = export_onnx(model, check.path, (x.double(),))  # onnxruntime has no such convolution
    assert report.sites[0].reason == "it computes in float64, not in float32"


@pytest.mark.parametrize(
    ("mode", "filters", "raised"),
    [("xnor", slice(3, 5), 2), ("xnor", slice(None), 24), ("dorefa", slice(None), 1)],
)
@pytest.mark.parametrize("factor", [0, 1e-42], ids=["zeros", "next to zeros"])
def test_filters_of_zeros_run_in_one_bit(
    check: Any, binarize: Binarize, mode: str, filters: slice, raised: int, factor: float
) -> None:
    net = AroundConv(kernel_size=3)
    with torch.no_grad():
        net.conv.weight[filters] *= factor
    x = X.clone()
    x[0, 0, 0, :2] = torch.tensor([torch.inf, -torch.inf])
    report = check(binarize(net, x, mode), x, one_bit=1)
    assert (
        report.sites[0].reason == f"{raised} weight scales raised from 0 to 2 ** -100, and factors behind it"
    )


def test_a_weight_that_is_not_finite_is_plain(check: Any, binarize: Binarize) -> None:
    net = AroundConv(kernel_size=3)
    with torch.no_grad():
        net.conv.weight[3] = torch.inf
    model = binarize(net, X)
    report = export_onnx(model, check.path, (X,))
    assert report.sites[0].reason == "its weight scale is below 0 or not finite in 1 of 24 filters"


def test_one_scale_for_all_filters_allows_some_of_zeros(check: Any, binarize: Binarize) -> None:
    net = AroundConv(kernel_size=3)
    with torch.no_grad():
        net.conv.weight[3] = 0
    check(binarize(net, X, "dorefa"), X, one_bit=1)


def test_an_activation_scale_that_underflows_is_plain(check: Any, binarize: Binarize) -> None:
    model = binarize(AroundConv(kernel_size=3), X)
    nn.init.constant_(next(iter(model.binarization.sites.values())).activation.scale, -200)
    report = check(model, X, one_bit=0)
    assert [site.reason for site in report.sites] == ["its activation scale is 0"]


def test_weights_of_zeros_before_training_decide_nothing(binarize: Binarize) -> None:
    net = AroundConv(kernel_size=3)
    nn.init.zeros_(net.conv.weight)
    (site,) = plan_export(binarize(net, X), all_enabled=True)
    assert site.mode is ExportMode.ONE_BIT


class WritesBehindDropout(nn.Module):
    """In eval mode, what a dropout returns is its input, and a ReLU writes into both."""

    def __init__(self, dropout: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.dropout = nn.Conv2d(3, 8, 3), dropout

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        return torch.relu_(self.dropout(y)) + y.mean((2, 3), keepdim=True)


@pytest.mark.parametrize(
    "dropout",
    [
        nn.Dropout(0.3),
        nn.Dropout2d(0.3),
        lambda x: F.dropout(x, 0.3, False),
        lambda x: F.dropout2d(x, 0.3, training=False),
    ],
    ids=["Dropout", "Dropout2d", "dropout", "dropout2d"],
)
def test_what_is_written_behind_a_dropout_is_in_front_of_it_too(
    check: Any, binarize: Binarize, dropout: Any
) -> None:
    check(binarize(WritesBehindDropout(dropout), X), X, one_bit=1)


def test_a_dropout_that_drops_in_eval_mode_stays(binarize: Binarize) -> None:
    model = binarize(WritesBehindDropout(lambda x: F.dropout(x, 0.3, True)), X)
    module, _ = prepare(model, None, None)
    assert F.dropout in [node.target for node in module.graph.nodes]
