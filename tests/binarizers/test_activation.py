import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from fxbin.binarizers import ActivationBinarizer
from fxbin.binarizers.activation_levels import ZeroScale
from fxbin.errors import ConfigError, TransformError
from tests.zoo import DATA

FUNCTIONS: dict[str, Any] = torch.load(DATA / "functions.pt", weights_only=True)


def enabled(channels: int = 3, **options: Any) -> ActivationBinarizer:
    binarizer = ActivationBinarizer(channels, **options)
    binarizer.enable()
    return binarizer


@pytest.mark.parametrize("case", FUNCTIONS["activation_module"], ids=lambda case: case["case"])
def test_module_is_that_of_nncf(case: dict[str, Any]) -> None:
    binarizer = enabled(lr_multiplier=case["compression_lr_multiplier"])
    x = case["x"].clone().requires_grad_()
    y = binarizer(x)
    y.backward(case["grad_output"])
    tight = partial(assert_close, rtol=1e-6, atol=1e-6)
    tight(y, case["output"])
    tight(x.grad, case["grad_x"])
    tight(binarizer.scale.detach(), case["scale_param_after"])
    tight(binarizer.threshold.detach(), case["threshold_param"])
    tight(binarizer.scale.grad, case["grad_scale_param"])
    tight(binarizer.threshold.grad, case["grad_threshold_param"])
    assert binarizer.scale_initialized.tolist() == case["scale_initialized"].tolist()


def test_eval_before_the_first_training_batch_is_that_of_nncf() -> None:
    case = FUNCTIONS["eval_before_init"]
    binarizer = enabled().eval()
    assert_close(binarizer(case["x"]), case["output"], rtol=0, atol=0)
    assert not binarizer.is_scale_initialized
    assert binarizer.scale_initialized.item() == 0


def test_scale_is_initialized_once_by_the_first_enabled_training_batch() -> None:
    binarizer = ActivationBinarizer(3)
    binarizer(torch.rand(2, 3, 4, 4))
    assert not binarizer.is_scale_initialized
    binarizer.enable()
    x = torch.rand(2, 3, 4, 4)
    binarizer(x)
    assert binarizer.scale_initialized.item() == 1
    assert binarizer.scale.item() == pytest.approx(x.max().log().item())
    binarizer(10 * x)
    assert binarizer.scale.item() == pytest.approx(x.max().log().item())


def test_empty_batch_does_not_initialize() -> None:
    binarizer = enabled()
    assert binarizer(torch.empty(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    assert not binarizer.is_scale_initialized


def test_levels_are_where_the_output_switches_and_what_it_becomes() -> None:
    binarizer = enabled().eval()
    with torch.no_grad():
        binarizer.scale.fill_(0.7)
        binarizer.threshold.copy_(torch.tensor([-1.0, 0.0, 2.0]).view(1, 3, 1, 1))
    bound, low, high = binarizer.levels()
    assert bound.shape == (1, 3, 1, 1)
    assert high.shape == (1,)
    assert low.tolist() == [0.0]
    x = torch.randn(2, 3, 5, 5)
    assert_close(binarizer(x), (x > bound) * high)
    assert (binarizer(bound + 0 * x) == 0).all()


def test_scale_and_threshold_train_however_the_binarizer_came_to_be_enabled() -> None:
    trained = enabled()
    trained(torch.rand(2, 3, 4, 4))
    binarizer = ActivationBinarizer(3)
    binarizer.load_state_dict(trained.state_dict())
    binarizer(torch.rand(2, 3, 4, 4)).sum().backward()
    assert binarizer.scale.grad is not None
    assert binarizer.threshold.grad is not None


def test_disabled_binarizer_gives_no_gradient_to_its_parameters() -> None:
    binarizer = ActivationBinarizer(3)
    binarizer(torch.rand(2, 3, 4, 4, requires_grad=True)).sum().backward()
    assert binarizer.scale.grad is None
    assert binarizer.threshold.grad is None


def test_multiplier_survives_deepcopy() -> None:
    x = torch.rand(2, 3, 4, 4)
    gradients = []
    for binarizer in (enabled(), copy.deepcopy(enabled(lr_multiplier=3.0))):
        binarizer(x).sum().backward()
        assert binarizer.scale.grad is not None
        gradients.append(binarizer.scale.grad)
    assert_close(gradients[1], 3 * gradients[0])


def test_autocast_keeps_the_dtype_of_the_input_and_float_parameters() -> None:
    binarizer = enabled(4)
    conv = torch.nn.Conv2d(3, 4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = conv(torch.randn(2, 3, 8, 8))
        y = binarizer(hidden)
    assert hidden.dtype == y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert binarizer.scale.grad is not None
    assert binarizer.scale.grad.dtype == torch.float32
    assert conv.weight.grad is not None


@pytest.mark.parametrize("shape", [(2, 4, 5, 5), (4, 5, 5), (3, 3), (1, 2, 3, 4, 5)])
def test_input_with_other_channels_is_refused_with_the_name(shape: tuple[int, ...]) -> None:
    binarizer = enabled()
    binarizer.name = "Net/Conv2d[conv]/conv2d_0"
    with pytest.raises(TransformError, match=r"conv2d_0: expected an input \(n, 3, h, w\) or \(3, h,"):
        binarizer(torch.rand(shape))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"scale_init": "max"}, 'scale_init: got \'max\', expected one of "quantile", "mse"'),
        ({"threshold_init": "max"}, 'threshold_init: got \'max\', expected one of "half", "mse"'),
        ({"init_batches": 0}, "activation_init_batches: expected 1 or more, got 0"),
    ],
)
def test_unknown_starts_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ActivationBinarizer(3, **option) if "init_batches" in option else ZeroScale(**option)


def test_a_scale_that_has_become_zero_is_computed_as_the_formula_says() -> None:
    binarizer = enabled()
    binarizer.scale_initialized.fill_(1)
    with torch.no_grad():
        binarizer.scale.fill_(-200.0)  # whose exponential is 0 in float32
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    y = binarizer(x)
    y.sum().backward()
    assert y.count_nonzero() == 0
    assert x.grad is not None
    assert torch.equal(x.grad, (x == 0).float())
