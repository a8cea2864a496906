from typing import Any

import torch
from torch import nn

import fxbin
from fxbin.module import BinarizedModule
from fxbin.parameter_groups import parameter_groups


def transformed(**params: Any) -> BinarizedModule:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3))
    config = {
        "input_info": {"sample_size": [1, 2, 8, 8]},
        "compression": {"algorithm": "binarization", "params": params},
    }
    return fxbin.transform(model, config)


def test_one_group_with_the_values_of_the_config_unless_asked_for_two() -> None:
    model = transformed(base_lr=0.02, base_wd=0.5)
    (group,) = parameter_groups(model)
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.5)


def test_scales_and_thresholds_have_their_own_learning_rate() -> None:
    model = transformed(base_lr=0.02, base_wd=0.5, binarizer_lr_multiplier=3.0)
    others, learned = parameter_groups(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [names[id(p)].rpartition(".")[2] for p in learned["params"]] == ["scale", "threshold"] * 2
    assert {names[id(p)].rpartition(".")[2] for p in others["params"]} == {"weight", "bias"}
    assert (others["lr"], learned["lr"]) == (0.02, 0.06)
    assert others["weight_decay"] == learned["weight_decay"] == 0.5


def test_the_schedule_moves_both_learning_rates() -> None:
    model = transformed(
        base_lr=0.02, binarizer_lr_multiplier=3.0, lr_poly_drop_start_epoch=0, lr_poly_drop_duration_epochs=2
    )
    optimizer = torch.optim.Adam(parameter_groups(model))
    schedule = fxbin.StagedSchedule(model, optimizer)
    schedule.start_epoch(1)
    slow, fast = schedule.get_last_lr()
    assert slow == 0.02 * 0.5**2.1
    assert fast == 0.02 * 3.0 * 0.5**2.1
