from typing import Any

import pytest
import torch
from torch import nn

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.errors import ConfigError, TransformError
from fxbin.staged.parameter_groups import parameter_groups


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


def test_scales_in_a_group_of_their_own_let_fused_sgd_through_every_switch() -> None:
    params = {"activations_quant_start_epoch": 1, "weights_quant_start_epoch": 2}
    config = {
        "input_info": {"sample_size": [1, 3, 8, 8]},
        "compression": {"algorithm": "binarization", "params": params},
    }
    model = fxbin.transform(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), config)
    learned = model.binarization.parameters()
    others = [p for name, p in model.named_parameters() if "binarizer" not in name]
    optimizer = torch.optim.SGD([{"params": others}, {"params": learned}], lr=1e-3, momentum=0.9, fused=True)
    schedule = fxbin.StagedSchedule(model, optimizer)
    for epoch in range(3):
        schedule.start_epoch(epoch)
        for fraction in (0.5, 1.0):
            optimizer.zero_grad()
            model(torch.rand(2, 3, 8, 8)).square().mean().backward()
            optimizer.step()
            schedule.step(fraction)
    assert all("momentum_buffer" in optimizer.state[p] for p in (*others, *learned))


def test_a_rule_by_the_number_of_axes_decays_thresholds_and_not_scales() -> None:
    config = {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": {"algorithm": "binarization"}}
    model = fxbin.transform(nn.Sequential(nn.Conv2d(3, 4, 3)), config)
    decayed = [name for name, p in model.named_parameters() if p.ndim > 1]
    assert decayed == ["0.weight", "0.activation_binarizer.threshold"]


class Parts(nn.Module):
    """Parameters of every kind, a weight that two layers compute with, and one that is computed itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.slopes = nn.PReLU(3)
        self.computed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 3, padding=1))
        self.group_norm = nn.GroupNorm(1, 3)
        self.gamma = nn.Parameter(torch.ones(3, 1, 1))
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.slopes(self.norm(self.conv(x)))
        y: torch.Tensor = self.fc((self.gamma * self.group_norm(self.computed(x))).mean((2, 3)))
        return y


NORMS = {"norm.weight", "norm.bias", "group_norm.weight", "group_norm.bias"}
BIASES = {"conv.bias", "norm.bias", "computed.bias", "group_norm.bias", "fc.bias"}
WEIGHTS = {"conv.weight", *(f"computed.parametrizations.weight.original{i}" for i in (0, 1))}
LEARNED = {
    f"{name}.activation_binarizer.{own}" for name in ("conv", "computed") for own in ("scale", "threshold")
}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("norms", NORMS),
        (["biases"], BIASES),
        (["prelu"], {"slopes.weight"}),
        (["binarizers"], LEARNED),
        (["binarized_weights"], WEIGHTS),
        (["{re}^gamma$"], {"gamma"}),
        (["norms", "biases", "{re}fc"], NORMS | BIASES | {"fc.weight"}),
    ],
)
@pytest.mark.parametrize("multiplier", [1.0, 2.0])
def test_what_is_excluded_has_no_weight_decay_and_all_else_has_it(
    entries: str | list[str], expected: set[str], multiplier: float
) -> None:
    params = {"wd_exclude": entries, "base_wd": 0.5, "base_lr": 0.1, "binarizer_lr_multiplier": multiplier}
    config = {
        "input_info": {"sample_size": [1, 2, 8, 8]},
        "compression": {"algorithm": "binarization", "params": params},
    }
    model = fxbin.transform(Parts(), config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model)
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(names)
    for group in groups:
        found = {names[id(p)] for p in group["params"]}
        assert group["weight_decay"] == (0.0 if found <= expected else 0.5)
        assert group["lr"] == 0.1 * (multiplier if found <= LEARNED else 1)
    excluded = {names[id(p)] for group in groups if not group["weight_decay"] for p in group["params"]}
    assert excluded == expected
    torch.optim.Adam(groups)


def test_an_expression_that_matches_no_parameter_is_an_error() -> None:
    model = transformed(wd_exclude=["{re}gama"])
    with pytest.raises(ConfigError, match=r"params.wd_exclude: '\{re\}gama' matches .* one such as 0.weight"):
        parameter_groups(model)


def test_disabling_weight_decay_and_going_back_leaves_the_excluded_without() -> None:
    model = transformed(wd_exclude=["biases"], base_wd=0.5, disable_wd_start_epoch=1)
    optimizer = torch.optim.Adam(parameter_groups(model))
    schedule = fxbin.StagedSchedule(model, optimizer)
    seen = []
    for epoch in (0, 2, 0):
        schedule.start_epoch(epoch)
        seen.append([group["weight_decay"] for group in optimizer.param_groups])
    assert seen == [[0.5, 0.0], [0.0, 0.0], [0.5, 0.0]]


def test_an_added_rprelu_counts_as_one() -> None:
    config = {
        "input_info": {"sample_size": [1, 4, 8, 8]},
        "compression": {
            "algorithm": "binarization",
            "rewrites": ["shortcuts", "rprelu"],
            "params": {"wd_exclude": "prelu"},
        },
    }
    model = fxbin.transform(
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()), config
    )
    names = {id(parameter): name.rpartition(".")[2] for name, parameter in model.named_parameters()}
    _, without = parameter_groups(model)
    assert {names[id(p)] for p in without["params"]} == {"gamma", "zeta", "beta"}


def test_the_model_may_be_in_a_wrapper_that_only_calls_it() -> None:
    model = transformed(base_lr=0.02)
    groups = parameter_groups(nn.DataParallel(model))
    assert [id(p) for group in groups for p in group["params"]] == [id(p) for p in model.parameters()]
    with pytest.raises(TransformError, match=r"fxbin.parameter_groups: expected a model that"):
        parameter_groups(nn.Linear(2, 2))
