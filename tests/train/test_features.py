"""Distillation from features: attention maps, and where they are taken from."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import fxbin
from fxbin.errors import ConfigError, TransformError
from fxbin.train.attention import attention_distance, attention_map
from fxbin.train.captured_features import CapturedFeatures
from fxbin.train.distillation import DistillationLoss
from fxbin.train.models import ResNetThin

CONFIG = {
    "input_info": {"sample_size": [2, 1, 12, 12]},
    "compression": {
        "algorithm": "binarization",
        "ignored_scopes": ["ResNetThin/NNCFConv2d[conv1]/conv2d_0", r"{re}\[downsample\]"],
    },
}
X, Y = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(0)), torch.arange(4)


def net(widths: tuple[int, ...] = (4, 8)) -> ResNetThin:
    torch.manual_seed(0)
    return ResNetThin(widths=widths, blocks=(1,) * len(widths))


def test_attention_is_the_formula_and_so_is_its_gradient() -> None:
    torch.manual_seed(0)
    own = torch.randn(3, 5, 4, 2, dtype=torch.float64, requires_grad=True)
    its = torch.randn(3, 7, 4, 2, dtype=torch.float64)
    expected = torch.zeros((), dtype=torch.float64)
    for a, b in zip(own, its, strict=True):
        q, t = (sum(channel.square() for channel in features) for features in (a, b))
        assert isinstance(q, Tensor)
        assert isinstance(t, Tensor)
        expected = expected + ((q / q.square().sum().sqrt() - t / t.norm()) ** 2).sum().sqrt() / 3
    found = attention_distance(own, its)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(found, own)
    (its_gradient,) = torch.autograd.grad(expected, own)
    torch.testing.assert_close(gradient, its_gradient, rtol=1e-10, atol=1e-12)


def test_attention_is_finite_at_zero_and_in_16_bits() -> None:
    zeros = torch.zeros(2, 3, 4, 4, requires_grad=True)
    attention_distance(zeros, torch.ones(2, 3, 4, 4)).backward()
    assert zeros.grad is not None
    assert not zeros.grad.any()
    equal = torch.ones(2, 3, 4, 4, requires_grad=True)
    attention_distance(equal, equal.detach()).backward()
    assert equal.grad is not None
    assert not equal.grad.any()
    assert attention_map(torch.full((1, 64, 2, 2), 300.0, dtype=torch.float16)).tolist() == [[0.5] * 4]


def test_loss_is_that_of_the_layers_and_leaves_no_hooks() -> None:
    teacher = net((6, 10))
    student = fxbin.transform(net(), CONFIG)
    student.binarization.enable()
    names = ["layers.0", "layers.1.0.conv2"]
    loss = DistillationLoss(teacher, weight=0, features=names, feature_weight=3.0)
    with loss.watching(student):
        found = loss(student(X), X, Y)
    found.backward()
    gradients = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    assert set(loss.parts) == {"label", "feature"}
    torch.testing.assert_close(found.detach(), loss.parts["label"] + 3 * loss.parts["feature"])
    for module in (*teacher.modules(), *student.modules()):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks

    # By hand: the first group is all of the network up to there.
    student.zero_grad()
    seen: dict[str, Tensor] = {}
    for name in names:
        student.get_submodule(name).register_forward_hook(lambda _m, _x, y, name=name: seen.update({name: y}))
    by_hand = nn.functional.cross_entropy(student(X), Y)
    h = teacher.layers[0](teacher.maxpool(teacher.relu(teacher.bn1(teacher.conv1(X)))))
    block: Any = teacher.layers[1].get_submodule("0")
    wanted = [h, block.conv2(block.relu(block.bn1(block.conv1(h))))]
    for name, its in zip(names, wanted, strict=True):
        by_hand = by_hand + 3 * attention_distance(seen[name], its.detach())
    torch.testing.assert_close(found, by_hand)
    by_hand.backward()
    for name, parameter in student.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad)


def test_hooks_are_removed_after_an_error_and_a_loss_that_watches_nothing_says_so() -> None:
    teacher, student = net(), net()
    loss = DistillationLoss(teacher, features=["layers.0"])
    with pytest.raises(ZeroDivisionError), loss.watching(student):
        raise ZeroDivisionError
    assert not any(module._forward_hooks for module in (*teacher.modules(), *student.modules()))
    with pytest.raises(ConfigError, match=r"features: the loss watches no model: call it inside `with loss"):
        loss(student(X), X, Y)


class Checkpointed(nn.Module):
    """Calls one layer twice, and computes it again in the backward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = checkpoint(self.conv, x, use_reentrant=False)
        return x.mean((2, 3))


def test_all_calls_of_a_module_count_and_what_a_backward_repeats_does_not() -> None:
    model = Checkpointed()
    with CapturedFeatures(model, ["conv"]) as captured:
        for _ in range(2):
            y = model(X)
            assert len(captured.take()) == 2
            y.sum().backward()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"features": ["layer.0"]},
            r"features of the teacher: 'layer.0' is no module of ResNetThin. Did",
        ),
        (
            {"features": ["layers.0"], "teacher_features": ["xyz"]},
            r"teacher_features .*: 'xyz' .*It has con",
        ),
        (
            {"features": ["fc"]},
            r"features of the teacher: the output of 'fc' is \(4, 10\), expected",
        ),
        (
            {"features": ["layers.0"], "teacher_features": ["layers.1"]},
            r"features: expected features at the same positions .*\(4, 4, 6, 6\).*\(4, 8, 3, 3\)",
        ),
    ],
)
def test_what_is_wrong_with_features_is_said(keys: dict[str, Any], message: str) -> None:
    student = net()
    with pytest.raises(ConfigError, match=message):  # noqa: PT012  (it comes from any of these)
        loss = DistillationLoss(net(), **keys)
        with loss.watching(student):
            logits = student(X) if "fc" not in keys["features"] else torch.zeros(4, 10)
            loss(logits, X, Y)


class WithUnused(Checkpointed):
    """Has a layer that its forward does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Identity()


def test_a_module_that_is_not_called_is_an_error() -> None:
    model = WithUnused()
    message = r"features: the forward of WithUnused did not call unused: name modules"
    with CapturedFeatures(model, ["conv", "unused"], "distillation.features") as captured:
        model(X)
        with pytest.raises(ConfigError, match=message):
            captured.take()


def test_features_of_a_rewritten_network_are_those_of_modules_in_its_graph() -> None:
    compression = CONFIG["compression"] | {"rewrites": ["shortcuts", "rprelu"]}  # type: ignore[operator]
    student = fxbin.transform(net(), CONFIG | {"compression": compression})
    student.binarization.enable()
    names = ["layers.0.0.conv2.rprelu", "layers.1.0.conv2.rprelu"]
    loss = DistillationLoss(net(), features=names, teacher_features=["layers.0", "layers.1"])
    with loss.watching(student):
        loss(student(X), X, Y).backward()
    assert loss.parts["feature"] > 0
    within = DistillationLoss(net(), features=["layers.0"])
    with within.watching(student), pytest.raises(TransformError, match="no graph fits this call"):
        student(X)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_features_of_a_compiled_model_are_those_of_the_model() -> None:
    student = fxbin.transform(net(), CONFIG)
    student.binarization.enable()
    torch.compiler.reset()
    compiled: Any = torch.compile(student, backend="eager", fullgraph=True)
    compiled(X)  # compiled before there are hooks
    loss = DistillationLoss(net((6, 10)), features=["layers.0", "layers.1"])
    with loss.watching(compiled):
        found = [loss(model(X), X, Y).item() for model in (compiled, student, compiled)]
    assert found == [pytest.approx(found[0])] * 3
