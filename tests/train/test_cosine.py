import pytest
import torch

from fxbin.train.cosine import CosineSchedule


def test_learning_rate_follows_the_formula_from_any_epoch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=123.0)
    schedule = CosineSchedule(optimizer, base_lr=2.0, epochs=4)
    seen = []
    for epoch, fraction in [(0, 0.0), (1, 0.0), (1, 1.0), (3, 1.0)]:
        schedule.start_epoch(epoch)
        if fraction:
            schedule.step(fraction)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([2.0, 1 + 0.5**0.5, 1.0, 0.0])
