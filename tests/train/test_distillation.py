import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fxbin.config import load_config
from fxbin.errors import ConfigError
from fxbin.train.distillation import DistillationLoss, divergence, soft_cross_entropy, squared_error
from fxbin.train.stage_loss import loss_of


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_cross_entropy_is_its_formula(temperature: float) -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, 5, 4, dtype=torch.float64)
    log_q = (logits / temperature).log_softmax(1)
    expected = -(log_q * (teacher / temperature).softmax(1)).mean() * temperature**2 * 4
    torch.testing.assert_close(
        soft_cross_entropy(logits, teacher, temperature), expected, rtol=1e-12, atol=1e-12
    )


def test_gradient_pulls_towards_the_teacher() -> None:
    logits = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, dtype=torch.float64)
    soft_cross_entropy(logits, teacher, 2.0).backward()
    expected = 2.0 * (logits.detach().div(2).softmax(1) - teacher.div(2).softmax(1)) / 3
    torch.testing.assert_close(logits.grad, expected, rtol=1e-12, atol=1e-12)


def test_squared_error_is_its_formula_and_so_is_its_gradient() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(5, 4, dtype=torch.float64)
    error = squared_error(logits, teacher)
    error.backward()
    difference = logits.detach() - teacher
    torch.testing.assert_close(error.detach(), difference.square().sum() / 20, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(logits.grad, 2 * difference / 20, rtol=1e-12, atol=1e-12)


def test_config_chooses_the_kind_of_distillation() -> None:
    teacher = nn.Linear(3, 4)
    x, labels, logits = torch.randn(6, 3), torch.arange(6) % 4, torch.randn(6, 4)
    section = {"type": "mse", "weight": 0.5}
    config = load_config({"compression": {"algorithm": "binarization"}, "distillation": section})
    expected = F.cross_entropy(logits, labels) + 0.5 * (logits - teacher(x)).square().mean()
    torch.testing.assert_close(loss_of(config, teacher)(logits, x, labels), expected)
    assert load_config(config.to_dict()) == config


def test_loss_adds_the_weighted_part_and_leaves_the_teacher_alone() -> None:
    teacher = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    x, labels, logits = torch.randn(6, 3), torch.arange(6) % 4, torch.randn(6, 4, requires_grad=True)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    loss = DistillationLoss(teacher, weight=0.5, temperature=2.0)(logits, x, labels)
    loss.backward()
    expected = F.cross_entropy(logits, labels) + 0.5 * soft_cross_entropy(logits, teacher(x), 2.0)
    torch.testing.assert_close(loss, expected)
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_weight_zero_does_not_ask_the_teacher() -> None:
    class Refuses(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("asked")

    logits, labels = torch.randn(2, 3), torch.tensor([0, 1])
    loss = DistillationLoss(Refuses(), weight=0.0)(logits, torch.randn(2, 1), labels)
    assert torch.equal(loss, F.cross_entropy(logits, labels))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_divergence_is_its_formula_and_has_the_gradient_of_the_cross_entropy(temperature: float) -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, 5, 4, dtype=torch.float64)
    logits.requires_grad_()
    t, s = (teacher / temperature).softmax(1), (logits / temperature).softmax(1)
    expected = temperature**2 * (t * (t / s).log()).sum() / 5
    found = divergence(logits, teacher, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert divergence(teacher, teacher, temperature).abs() < 1e-12
    (own,) = torch.autograd.grad(found, logits)
    (its,) = torch.autograd.grad(soft_cross_entropy(logits, teacher, temperature), logits)
    torch.testing.assert_close(own, its, rtol=1e-12, atol=1e-12)


def test_distributional_loss_asks_the_teacher_alone_and_still_tells_the_loss_on_labels() -> None:
    teacher = nn.Linear(3, 4)
    x, labels = torch.randn(6, 3), torch.arange(6) % 4
    section = {"type": "kl", "label_weight": 0, "weight": 2.0}
    config = load_config({"compression": {"algorithm": "binarization"}, "distillation": section})
    loss = loss_of(config, teacher)
    gradients = []
    for order in (labels, labels.flip(0)):
        logits = torch.ones(6, 4, requires_grad=True)
        loss(logits, x, order).backward()
        gradients.append(logits.grad)
        assert isinstance(loss, DistillationLoss)
        assert loss.parts["label"].item() == pytest.approx(torch.tensor(4.0).log().item())
    assert gradients[0] is not None
    assert gradients[1] is not None
    assert torch.equal(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], 2 * (0.25 - teacher(x).softmax(1)) / 6)


@pytest.mark.parametrize("distillation", [{}, {"enabled": False}])
def test_smoothed_labels_are_the_formula_and_are_told_apart_from_the_teacher(
    distillation: dict[str, bool],
) -> None:
    teacher = nn.Linear(3, 4)
    x, labels, logits = torch.randn(6, 3), torch.arange(6) % 4, torch.randn(6, 4)
    keys = {"label_smoothing": 0.2, "distillation": distillation}
    config = load_config({"compression": {"algorithm": "binarization"}} | keys)
    log_q = logits.log_softmax(1)
    smoothed = -(0.8 * log_q[range(6), labels] + 0.05 * log_q.sum(1)).mean()
    loss = loss_of(config, teacher)
    parts = {"label": smoothed}
    if config.distillation.enabled:
        parts["distillation"] = soft_cross_entropy(logits, teacher(x)).detach()
    torch.testing.assert_close(loss(logits, x, labels).detach(), sum(parts.values()))
    torch.testing.assert_close(getattr(loss, "parts"), parts)  # noqa: B009  (not every loss has it)


def test_nothing_to_learn_from_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"label_weight: got 0, expected a number above 0 beside weight=0"):
        DistillationLoss(nn.Identity(), weight=0.0, label_weight=0.0)
