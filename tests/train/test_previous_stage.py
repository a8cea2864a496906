import copy

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.errors import TransformError
from fxbin.train.previous_stage import PreviousStage
from tests.transforming import Small, config

X = 4 * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
STARTS = {"activations_quant_start_epoch": 1, "weights_quant_start_epoch": 2.5}


def outputs(model: nn.Module) -> Tensor:
    with torch.no_grad():
        y: Tensor = copy.deepcopy(model).eval()(X)
    return y


def test_the_teacher_is_the_network_from_before_each_switch() -> None:
    torch.manual_seed(0)
    model = fxbin.transform(Small(), config(4, 3, 8, 8, params=STARTS))
    teacher = PreviousStage(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    schedule = fxbin.StagedSchedule(model, optimizer)
    expected = [outputs(model)] * 2
    found = []
    for epoch in range(4):
        schedule.start_epoch(epoch)
        teacher.update()
        for step in range(2):
            found.append(teacher(X))
            optimizer.zero_grad()
            model(X).square().mean().backward()
            optimizer.step()
            before = outputs(model)
            schedule.step((step + 1) / 2)
            teacher.update()
            # The last full-precision network at the end of epoch 0; in the middle of epoch 2, the last one
            # with real weights.
            if (epoch, step) == (0, 1):
                expected += [before] * 3
            if (epoch, step) == (2, 0):
                expected += [before] * 3
    assert len(found) == len(expected)
    for own, its in zip(found, expected, strict=True):
        torch.testing.assert_close(own, its, rtol=0, atol=0)
    assert not any(module.training for module in teacher.modules())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_only_a_transformed_model_has_stages() -> None:
    with pytest.raises(TransformError, match=r"fxbin\.PreviousStage: expected a model that fxbin\.transform"):
        PreviousStage(nn.Linear(2, 2))
