"""Convolutions of a model in training and evaluation, computed by the 1-bit engine."""

import os
import subprocess
import sys
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
from fxbin.binarizers.conv2d_fused import binarized_conv2d
from fxbin.engine.float_conv2d import FloatConv2d
from fxbin.engine.library import Engine, training_engine

pytestmark = pytest.mark.usefixtures("built")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of inputs that the engine convolved."""
    seen: list[tuple[int, ...]] = []
    run = FloatConv2d.run

    def noted(self: FloatConv2d, engine: Engine, x: Tensor, *args: Any) -> Tensor:
        seen.append(tuple(x.shape))
        return run(self, engine, x, *args)

    monkeypatch.setattr(FloatConv2d, "run", noted)
    return seen


def binarizers(channels: int, weights: WeightBinarizer) -> tuple[ActivationBinarizer, WeightBinarizer]:
    """A pair that is on, with levels that differ between channels."""
    activations = ActivationBinarizer(channels)
    with torch.no_grad():
        activations.scale.fill_(-0.4)
        activations.threshold.copy_(torch.linspace(-2, 2, channels).view_as(activations.threshold))
        activations.scale_initialized.fill_(1)
    activations.enable()
    weights.enable()
    return activations, weights


SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((3, 16, 9, 9), (24, 16, 3, 3), {"padding": 1}),
    "1x1": ((2, 64, 5, 5), (70, 64, 1, 1), {}),
    "7x7": ((2, 3, 20, 18), (8, 3, 7, 7), {"padding": 3, "stride": 2}),
    "dilation": ((2, 5, 12, 13), (4, 5, 3, 2), {"dilation": (2, 3), "padding": (2, 1)}),
    "stride": ((2, 33, 12, 13), (40, 33, 3, 3), {"stride": (1, 3)}),
    "groups": ((2, 12, 8, 8), (9, 4, 3, 3), {"groups": 3, "padding": 1}),
    "depthwise": ((2, 12, 8, 8), (12, 1, 3, 3), {"groups": 12, "padding": 1}),
    "padding wider than the picture": ((2, 6, 2, 3), (5, 6, 3, 3), {"padding": 4}),
    "many channels": ((2, 130, 6, 6), (65, 130, 3, 3), {"padding": 1}),
    "one number": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
}


def operands(name: str, *, last: bool) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
    """Input, weight, bias and settings."""
    x_shape, w_shape, settings = SHAPES[name]
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(shape, generator=generator) for shape in (x_shape, w_shape))
    bias = torch.randn(w_shape[0], generator=generator)
    return (x.to(memory_format=torch.channels_last) if last else x), w, bias, settings


@pytest.mark.parametrize("last", [False, True], ids=["planar", "channels_last"])
@pytest.mark.parametrize("weights", [XNORWeightBinarizer, DoReFaWeightBinarizer], ids=["xnor", "dorefa"])
@pytest.mark.parametrize("name", SHAPES)
def test_output_and_gradients_are_those_of_float64(
    runs: list[tuple[int, ...]], name: str, weights: type[WeightBinarizer], last: bool
) -> None:
    x, w, bias, settings = operands(name, last=last)
    pair = binarizers(x.shape[1], weights())
    exact = binarizers(x.shape[1], weights())
    for module in exact:
        module.double()
    ours = [each.detach().requires_grad_() for each in (x, w, bias)]
    theirs = [each.detach().double().requires_grad_() for each in (x, w, bias)]
    y = binarized_conv2d(*pair, ours[0], ours[1], ours[2], **settings)
    expected = F.conv2d(exact[0](theirs[0]), exact[1](theirs[1]), theirs[2], **settings)
    assert runs == [tuple(x.shape)]
    assert_close(y.double(), expected, rtol=0, atol=1e-6 * float(expected.detach().abs().max()))
    assert y.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    y.backward(g)
    expected.backward(g.double())
    for mine, its in zip([*ours, *pair[0].parameters()], [*theirs, *exact[0].parameters()], strict=True):
        assert mine.grad is not None
        assert its.grad is not None
        assert_close(mine.grad.double(), its.grad, rtol=1e-5, atol=1e-5 * float(its.grad.abs().max() + 1e-3))


@pytest.mark.parametrize("name", SHAPES)
def test_sums_are_exact(name: str) -> None:
    x, w, _, settings = operands(name, last=False)
    activations, weights = binarizers(x.shape[1], XNORWeightBinarizer())
    with torch.no_grad():
        activations.scale.zero_()  # the level 1
        y = binarized_conv2d(activations.eval(), weights, x, w.sign(), **settings)
    fired = (x > activations.threshold.sigmoid()).double()
    assert torch.equal(y.double(), F.conv2d(fired, w.sign().double(), **settings))


def test_nothing_is_kept_of_a_weight(runs: list[tuple[int, ...]]) -> None:
    x, w, _, settings = operands("3x3", last=False)
    pair = binarizers(16, XNORWeightBinarizer())
    with torch.no_grad():
        pair[0].eval()
        first = binarized_conv2d(*pair, x, w, **settings)
        w.data.neg_()  # writes that autograd does not see
        assert_close(binarized_conv2d(*pair, x, w, **settings), -first)
    assert len(runs) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.masked_fill(x > 1, float("nan")),
        lambda x: x.masked_fill(x > 1, float("inf")),
        lambda x: x.masked_fill(x < -1, -float("inf")),
    ],
    ids=["nan", "inf", "-inf"],
)
def test_evaluation_compares_whatever_comes(runs: list[tuple[int, ...]], change: Any) -> None:
    x, w, bias, settings = operands("3x3", last=False)
    activations, weights = binarizers(16, XNORWeightBinarizer())
    activations.eval()
    with torch.no_grad():
        y = binarized_conv2d(activations, weights, change(x), w, bias, **settings)
        expected = F.conv2d(activations(change(x)), weights(w), bias, **settings)
    assert runs
    assert_close(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["float64", "input axis", "activations alone"])
def test_what_the_engine_does_not_take_is_computed_in_float(runs: list[tuple[int, ...]], case: str) -> None:
    x, w, _, settings = operands("3x3", last=False)
    pair = binarizers(16, XNORWeightBinarizer("input" if case == "input axis" else "output"))
    if case == "float64":
        x, w = x.double(), w.double()
        for module in pair:
            module.double()
    if case == "activations alone":
        pair[1].disable()
    y = binarized_conv2d(*pair, x, w, **settings)
    assert not runs
    assert torch.equal(y, F.conv2d(pair[0](x), pair[1](w), **settings))


def test_shapes_that_do_not_fit_are_refused_by_pytorch() -> None:
    pair = binarizers(16, XNORWeightBinarizer())
    with pytest.raises(RuntimeError, match="to have 3 channels, but got 16 channels"):
        binarized_conv2d(*pair, torch.rand(1, 16, 4, 4), torch.rand(2, 3, 3, 3))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        binarized_conv2d(*pair, torch.rand(1, 16, 2, 2), torch.rand(2, 16, 3, 3))


def trained() -> tuple[fxbin.BinarizedModule, Tensor]:
    """A model whose stages are on, and a batch."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 8, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    config = {
        "input_info": {"sample_size": [1, 3, 12, 12]},
        "compression": {"algorithm": "binarization", "ignored_scopes": ["Sequential/NNCFConv2d[0]/conv2d_0"]},
    }
    binarized = fxbin.transform(model, config)
    binarized.binarization.enable(activations=True, weights=True)
    x = torch.rand(8, 3, 12, 12)
    binarized(x)
    for name, parameter in binarized.named_parameters():
        if name.endswith("scale"):
            parameter.data.sub_(0.1)  # from the largest input, whose gradient rounding decides about
    return binarized, x


def in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch the engine off."""
    monkeypatch.setattr(conv2d_fused, "training_engine", lambda: None)


def test_evaluation_of_a_model(runs: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    binarized, x = trained()
    runs.clear()
    with torch.no_grad():
        y = binarized.eval()(x)
        assert len(runs) == 2
        in_float(monkeypatch)
        expected = binarized(x)
    assert len(runs) == 2
    assert_close(y, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_a_step_and_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    binarized, x = trained()
    gradients = []
    for _ in range(2):
        binarized.zero_grad()
        binarized(x).square().sum().backward()
        gradients.append([p.grad for p in binarized.parameters() if p.grad is not None])
        in_float(monkeypatch)
    assert len(gradients[0]) == len(list(binarized.parameters()))
    largest = max(float(theirs.abs().max()) for theirs in gradients[1])
    for ours, theirs in zip(*gradients, strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * largest)


def test_reestimated_batch_norms(runs: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    binarized, x = trained()
    runs.clear()
    fxbin.reestimate_batch_norm(binarized, [x, 1 - x])
    assert len(runs) == 4
    found = [buffer.clone() for name, buffer in binarized.named_buffers() if "running" in name]
    in_float(monkeypatch)
    fxbin.reestimate_batch_norm(binarized, [x, 1 - x])
    expected = [buffer for name, buffer in binarized.named_buffers() if "running" in name]
    assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_in_train_mode(runs: list[tuple[int, ...]], mode: Any) -> None:
    binarized, x = trained()
    runs.clear()
    with mode():
        y = binarized(x)
    assert len(runs) == 2
    assert_close(y, binarized(x))


def test_evaluation_with_gradients(runs: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    binarized, x = trained()
    binarized.eval()
    runs.clear()
    found = torch.autograd.grad(binarized(x).sum(), list(binarized.parameters()))
    assert len(runs) == 2
    in_float(monkeypatch)
    expected = torch.autograd.grad(binarized(x).sum(), list(binarized.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


SWITCHED = """
import warnings
warnings.simplefilter("error")
from fxbin.engine.library import training_engine
print(training_engine())
"""


@pytest.mark.parametrize(
    ("variables", "is_there"),
    [
        ({"FXBIN_TRAINING": "float"}, False),
        ({"FXBIN_TRAINING": "1bit"}, True),
        ({"CC": "/no/compiler"}, False),
    ],
    ids=str,
)
def test_it_can_be_switched_off_and_may_be_missing(variables: dict[str, str], is_there: bool) -> None:
    found = subprocess.run(
        [sys.executable, "-c", SWITCHED],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (found.stdout.strip() != "None") is is_there


def test_an_unknown_choice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXBIN_TRAINING", "bits")
    with pytest.raises(fxbin.FxbinError, match=r"FXBIN_TRAINING: expected one of .*'1bit'.*, got 'bits'"):
        training_engine.__wrapped__()
