"""A convolution and its binarizers in one step of autograd are what the three are one by one."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import fxbin
from fxbin.binarizers import (
    ActivationBinarizer,
    DoReFaWeightBinarizer,
    WeightBinarizer,
    XNORWeightBinarizer,
    conv2d_fused,
)
from fxbin.binarizers.activation_levels import ZeroScale
from fxbin.binarizers.conv2d_fused import binarized_conv2d
from fxbin.binarizers.firing import FiringCount

FUSED = "_BinarizedConv2dBackward"


class Layer:
    """Parameters of a convolution with its binarizers, the same each time, scale and threshold not at 0."""

    def __init__(
        self,
        weights: WeightBinarizer | None = None,
        dtype: torch.dtype = torch.float32,
        *,
        negative: bool = False,
        groups: int = 1,
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(4, 4 // groups, 3, 3, generator=generator, dtype=dtype).requires_grad_()
        self.bias = torch.randn(4, generator=generator, dtype=dtype).requires_grad_()
        x = torch.randn(3, 4, 8, 8, generator=generator, dtype=dtype)
        self.x = (x if negative else x.relu()).requires_grad_()
        self.activations = ActivationBinarizer(4, ZeroScale("mse"), lr_multiplier=3.0).to(dtype)
        with torch.no_grad():
            self.activations.threshold.copy_(torch.tensor([-1.0, 0.0, 0.5, 1.5]).view(1, 4, 1, 1))
        self.weights = weights or XNORWeightBinarizer()
        self.activations.enable()
        self.weights.enable()

    def inputs(self) -> list[Tensor]:
        """What can have a gradient."""
        return [self.x, self.weight, self.bias, self.activations.scale, self.activations.threshold]

    def fused(self, **settings: Any) -> Tensor:
        """The convolution in one call."""
        return binarized_conv2d(
            self.activations, self.weights, self.x, self.weight, **{"bias": self.bias} | settings
        )

    def plain(self, **settings: Any) -> Tensor:
        """The same in three."""
        x, weight = self.activations(self.x), self.weights(self.weight)
        return F.conv2d(x, weight, **{"bias": self.bias} | settings)


@pytest.fixture(params=["engine", "passes"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test with the 1-bit engine, and without it."""
    if request.param == "passes":
        monkeypatch.setattr(conv2d_fused, "training_engine", lambda: None)
    else:
        request.getfixturevalue("built")
    return str(request.param)


def assert_same(layer: Layer, *, is_exact: bool = False, **settings: Any) -> None:
    """Assert that `fused` is one step, with the output of `plain`, to the bit or not, and its gradients."""
    other = copy.deepcopy(layer)
    y, expected = layer.fused(**settings), other.plain(**settings)
    assert y.grad_fn is not None
    assert y.grad_fn.name() == FUSED
    assert y.stride() == expected.stride()
    if is_exact:
        assert torch.equal(y, expected)
    assert_close(y, expected, rtol=0, atol=1e-6 * float(expected.detach().abs().max()))
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    y.backward(g)
    expected.backward(g)
    for ours, theirs in zip(layer.inputs(), other.inputs(), strict=True):
        assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": None},
        {"stride": 2, "padding": 1},
        {"stride": (1, 2), "padding": (2, 1), "dilation": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_and_gradients(dtype: torch.dtype, negative: bool, settings: dict[str, Any], way: str) -> None:
    is_exact = way == "passes" or dtype == torch.float64
    assert_same(Layer(None, dtype, negative=negative), is_exact=is_exact, **settings)


@pytest.mark.parametrize(
    "weights", [DoReFaWeightBinarizer, lambda: XNORWeightBinarizer("input")], ids=["dorefa", "input axis"]
)
def test_other_scales_of_the_weight(weights: Callable[[], WeightBinarizer]) -> None:
    assert_same(Layer(weights()), padding=1)


def test_groups() -> None:
    assert_same(Layer(groups=2), groups=2)


def test_activations_alone() -> None:
    layer = Layer()
    layer.weights.disable()
    assert_same(layer, is_exact=True, padding=1)


def test_channels_last() -> None:
    layer = Layer()
    layer.x = layer.x.detach().to(memory_format=torch.channels_last).requires_grad_()
    y = layer.fused(padding=1)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert_same(Layer(), padding=1)
    y.sum().backward()
    assert layer.x.grad is not None
    assert layer.x.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("frozen", range(5), ids=["x", "weight", "bias", "scale", "threshold"])
def test_what_needs_no_gradient_gets_none_and_the_others_do(frozen: int) -> None:
    layer, other = Layer(), Layer()
    for each in (layer, other):
        each.inputs()[frozen].requires_grad_(False)
    layer.fused().square().sum().backward()
    other.plain().square().sum().backward()
    for position, (ours, theirs) in enumerate(zip(layer.inputs(), other.inputs(), strict=True)):
        assert (ours.grad is None) == (position == frozen)
        assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-4)


def test_only_levels_are_trained() -> None:
    layer, other = Layer(), Layer()
    for each in (layer, other):
        for tensor in each.inputs()[:3]:
            tensor.requires_grad_(False)
    layer.fused().square().sum().backward()
    other.plain().square().sum().backward()
    assert_close([t.grad for t in layer.inputs()], [t.grad for t in other.inputs()], rtol=1e-5, atol=1e-4)


def test_second_backward_adds_the_same_again() -> None:
    layer = Layer()
    loss = layer.fused().square().sum()
    loss.backward(retain_graph=True)
    once = [tensor.grad.clone() for tensor in layer.inputs() if tensor.grad is not None]
    loss.backward()
    assert_close([tensor.grad for tensor in layer.inputs()], [2 * grad for grad in once])


def test_second_derivative_is_an_error() -> None:
    layer = Layer()
    (grad_x,) = torch.autograd.grad(layer.fused().square().sum(), layer.x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad_x.sum().backward()


def test_a_weight_that_is_changed_before_the_backward_is_an_error() -> None:
    layer = Layer()
    y = layer.fused().sum()
    with torch.no_grad():
        layer.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_infinite_gradient_outside_the_windows_is_dropped() -> None:
    layer, other = Layer(), Layer()
    g = torch.ones_like(layer.fused())
    g[0, 0, 0, 0] = float("inf")
    layer.fused().backward(g)
    other.plain().backward(g)
    for ours, theirs in zip(layer.inputs(), other.inputs(), strict=True):
        assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-4, equal_nan=True)


def test_only_input_and_weight_are_kept() -> None:
    layer = Layer()
    layer.fused()  # starts the scale
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer.fused()
    assert kept == [layer.x.data_ptr(), layer.weight.data_ptr()]


def test_firing_is_counted() -> None:
    layer, other = Layer(), Layer()
    for each in (layer, other):
        each.activations.firing = FiringCount(4, torch.device("cpu"))
    layer.fused()
    other.plain()
    assert layer.activations.firing is not None
    assert other.activations.firing is not None
    assert torch.equal(layer.activations.firing.fired, other.activations.firing.fired)
    assert layer.activations.firing.counted == other.activations.firing.counted > 0


class _Doubled(ActivationBinarizer):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def _spoilt(layer: Layer) -> None:
    with torch.no_grad():
        layer.x[1, 2, 3, 4] = float("nan")


def _hooked(module: str) -> Callable[[Layer], None]:
    return lambda layer: getattr(layer, module).register_forward_hook(lambda *_: None) and None


def _subclassed(layer: Layer) -> None:
    layer.activations.__class__ = _Doubled


@pytest.mark.parametrize(
    "change",
    [
        _spoilt,
        _subclassed,
        _hooked("activations"),
        _hooked("weights"),
        lambda layer: layer.activations.disable(),
    ],
    ids=["nan", "subclass", "hook", "hook of the weight", "disabled"],
)
def test_all_else_goes_through_the_modules(change: Callable[[Layer], None]) -> None:
    layer, other = Layer(), Layer()
    for each in (layer, other):
        change(each)
    y = layer.fused()
    assert y.grad_fn is not None
    assert y.grad_fn.name() != FUSED
    assert_close(y, other.plain(), rtol=0, atol=0, equal_nan=True)


def test_autocast_and_functional_transforms_go_through_the_modules() -> None:
    layer, other = Layer(), Layer()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.fused(), other.plain())

    def loss(x: Tensor) -> Tensor:
        return binarized_conv2d(layer.activations, layer.weights, x, layer.weight).square().sum()

    found = torch.func.grad(loss)(layer.x.detach())
    other.plain(bias=None).square().sum().backward()
    assert_close(found, other.x.grad)


@pytest.mark.parametrize("batch", [0, None])
def test_no_examples_and_no_batch_axis(batch: int | None) -> None:
    layer = Layer()
    layer.x = layer.x.detach()[0] if batch is None else layer.x.detach()[:batch]
    assert torch.equal(layer.fused(), layer.plain())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the fused steps."""
    seen: list[int] = []
    apply: Any = conv2d_fused._BinarizedConv2d.apply

    def counted(*args: Any) -> Any:
        seen.append(1)
        return apply(*args)

    monkeypatch.setattr(conv2d_fused._BinarizedConv2d, "apply", counted)
    return seen


def test_transformed_models_train_with_it(calls: list[int]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False), nn.Dropout())
    config = {
        "input_info": {"sample_size": [2, 3, 8, 8]},
        "compression": {"algorithm": "binarization", "mode": "xnor"},
    }
    binarized = fxbin.transform(model, config).train()
    for _ in range(2):
        calls.clear()
        binarized.binarization.enable(activations=True, weights=True)
        binarized(torch.rand(2, 3, 8, 8)).sum().backward()
        assert len(calls) == 2
        binarized = copy.deepcopy(binarized)
    assert "binarized_conv2d" not in binarized.code


def test_error_names_the_line_of_the_graph() -> None:
    config = {
        "input_info": {"sample_size": [2, 3, 8, 8]},
        "compression": {"algorithm": "binarization", "mode": "xnor"},
    }
    binarized = fxbin.transform(nn.Sequential(nn.Conv2d(3, 8, 3)), config)
    with pytest.raises(Exception, match="4 channels") as raised:
        binarized(torch.rand(2, 4, 8, 8))
    assert any("binarized_conv2d(" in str(entry.statement) for entry in raised.traceback)
