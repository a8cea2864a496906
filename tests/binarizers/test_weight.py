import pytest
import torch
from torch.testing import assert_close

from fxbin.binarizers import DoReFaWeightBinarizer, WeightBinarizer, XNORWeightBinarizer
from fxbin.errors import ConfigError, TransformError


def enabled(binarizer: WeightBinarizer) -> WeightBinarizer:
    binarizer.enable()
    return binarizer


@pytest.mark.parametrize(
    "shape", [(4, 3, 3, 3), (6, 1, 3, 3), (8, 2, 1, 5)], ids=["dense", "depthwise", "grouped"]
)
def test_xnor_has_a_scale_per_filter(shape: tuple[int, ...]) -> None:
    w = torch.randn(shape)
    y = enabled(XNORWeightBinarizer())(w)
    for filter_y, filter_w in zip(y, w, strict=True):
        assert_close(filter_y, filter_w.sign() * filter_w.abs().mean())


def test_xnor_has_a_scale_per_input_channel_if_asked() -> None:
    w = torch.randn(4, 3, 3, 3)
    binarizer = enabled(XNORWeightBinarizer(scale_axis="input"))
    assert binarizer.scale(w).shape == (1, 3, 1, 1)
    for channel in range(3):
        expected = w[:, channel].sign() * w[:, channel].abs().mean()
        assert_close(binarizer(w)[:, channel], expected)


def test_dorefa_has_one_scale() -> None:
    w = torch.randn(4, 3, 3, 3)
    assert_close(enabled(DoReFaWeightBinarizer())(w), w.sign() * w.abs().mean())


@pytest.mark.parametrize("binarizer", [XNORWeightBinarizer(), DoReFaWeightBinarizer()])
def test_levels_are_plus_and_minus_the_scale(binarizer: WeightBinarizer) -> None:
    w = torch.randn(4, 3, 3, 3)
    assert_close(enabled(binarizer)(w).abs(), binarizer.scale(w).expand_as(w), rtol=0, atol=0)


def test_scale_gets_no_gradient() -> None:
    w = torch.randn(4, 3, 3, 3, requires_grad=True)
    g = torch.randn(4, 3, 3, 3)
    enabled(XNORWeightBinarizer())(w).backward(g)
    assert w.grad is not None
    assert_close(w.grad, g, rtol=0, atol=0)


def test_channels_last_weight_stays_so() -> None:
    w = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    assert enabled(XNORWeightBinarizer())(w).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("binarizer", [XNORWeightBinarizer(), DoReFaWeightBinarizer()])
def test_other_weights_are_refused_with_their_name(binarizer: WeightBinarizer) -> None:
    binarizer.name = "net.conv"
    with pytest.raises(TransformError, match=r"net\.conv: expected a conv2d weight .* got 3-d \(4, 3, 3\)"):
        enabled(binarizer)(torch.randn(4, 3, 3))


def test_unknown_scale_axis_is_refused() -> None:
    with pytest.raises(ConfigError, match='weight_scale_axis: expected "output" or "input", got \'in\''):
        XNORWeightBinarizer(scale_axis="in")  # type: ignore[arg-type]
