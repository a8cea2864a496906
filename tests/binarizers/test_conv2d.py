"""What the convolution keeps for its backward, and that its numbers are those of F.conv2d."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from fxbin.binarizers import ActivationBinarizer, XNORWeightBinarizer
from fxbin.binarizers.activation_levels import ZeroScale
from fxbin.binarizers.conv2d import conv2d


class Layer:
    """Parameters of a convolution and its binarizers, the same each time."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(4, 3, 3, 3, generator=generator, dtype=dtype).requires_grad_()
        self.x = torch.rand(2, 3, 8, 8, generator=generator, dtype=dtype).requires_grad_()
        self.activations = ActivationBinarizer(3, ZeroScale("mse")).to(dtype)
        self.weights = XNORWeightBinarizer()
        self.activations.enable()
        self.weights.enable()

    def run(self, function: Any, **options: Any) -> Tensor:
        """The convolution, with everything binarized."""
        y: Tensor = function(self.activations(self.x), self.weights(self.weight), **options)
        return y

    def gradients(self) -> list[Tensor | None]:
        """Of input, weight, scale and threshold."""
        return [self.x.grad, self.weight.grad, *(p.grad for p in self.activations.parameters())]


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"padding": "same"}, {"bias": torch.ones(4)}, {"dilation": (2, 1)}],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_output_and_gradients_are_those_of_conv2d(dtype: torch.dtype, options: dict[str, Any]) -> None:
    ours, plain = Layer(dtype), Layer(dtype)
    options = {name: v.to(dtype) if isinstance(v, Tensor) else v for name, v in options.items()}
    y, expected = ours.run(conv2d, **options), plain.run(F.conv2d, **options)
    assert torch.equal(y, expected)
    for output in (y, expected):
        output.square().sum().backward()
    assert_close(ours.gradients(), plain.gradients(), rtol=0, atol=0)


def test_no_two_level_tensor_outlives_the_forward() -> None:
    layer = Layer()
    binarized = [layer.activations(layer.x), layer.weights(layer.weight)]
    storages = [tensor.untyped_storage()._weak_ref() for tensor in binarized]
    y = conv2d(*binarized)
    del binarized
    assert all(torch.UntypedStorage._expired(storage) for storage in storages)
    y.sum().backward()
    assert None not in layer.gradients()


def test_a_graph_that_is_kept_gives_the_same_gradients_twice() -> None:
    layer = Layer()
    y = layer.run(conv2d).sum()
    y.backward(retain_graph=True)
    first = [gradient.clone() for gradient in layer.gradients() if gradient is not None]
    y.backward()
    assert_close(layer.gradients(), [2 * gradient for gradient in first])


def test_two_convolutions_on_one_binarized_input() -> None:
    gradients = []
    for function in (conv2d, F.conv2d):
        layer = Layer()
        x, w = layer.activations(layer.x), layer.weights(layer.weight)
        (function(x, w) + function(x, w, padding=1)[:, :, 1:-1, 1:-1]).square().sum().backward()
        gradients.append(layer.gradients())
    assert_close(gradients[0], gradients[1], rtol=0, atol=0)


@pytest.mark.parametrize("disabled", ["activations", "weights"])
def test_one_of_the_two_alone(disabled: str) -> None:
    gradients = []
    for function in (conv2d, F.conv2d):
        layer = Layer()
        getattr(layer, disabled).disable()
        layer.run(function).square().sum().backward()
        gradients.append(layer.gradients())
    assert_close(gradients[0], gradients[1], rtol=0, atol=0)


def test_a_weight_that_is_changed_before_the_backward_is_an_error() -> None:
    for weights_enabled in (True, False):
        layer = Layer()
        if not weights_enabled:
            layer.weights.disable()
        y = layer.run(conv2d).sum()
        with torch.no_grad():
            layer.weight.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()


def test_functional_transforms_see_a_plain_convolution() -> None:
    layer, expected = Layer(), Layer()

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        return conv2d(layer.activations(x), layer.weights(weight)).square().sum()

    layer.activations(layer.x)  # starts the scale
    found = torch.func.grad(loss, (0, 1))(layer.x.detach(), layer.weight.detach())
    expected.run(F.conv2d).square().sum().backward()
    assert_close(found, (expected.x.grad, expected.weight.grad))


def test_autocast_has_the_numbers_of_conv2d() -> None:
    gradients = []
    for function in (conv2d, F.conv2d):
        layer = Layer()
        with torch.autocast("cpu", torch.bfloat16):
            y = layer.run(function)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()
        gradients.append(layer.gradients())
    assert_close(gradients[0], gradients[1], rtol=0, atol=0)
