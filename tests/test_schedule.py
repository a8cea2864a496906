import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxbin.binarized.state import BinarizationState, Site, Stage
from fxbin.binarizers import ActivationBinarizer, XNORWeightBinarizer
from fxbin.config import load_config
from fxbin.errors import CheckpointError, ConfigError, TransformError
from fxbin.staged.schedule import StagedSchedule, stage_at

# Most tests here move through epochs without any training in them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:optimizer. the last epoch changed none"),
    pytest.mark.filterwarnings("ignore:activations were binarized for a whole epoch"),
]


class TinyModel(nn.Module):
    """One binarized convolution, put together by hand."""

    def __init__(self, **params: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.activation_binarizer = ActivationBinarizer(3)
        self.weight_binarizer = XNORWeightBinarizer()
        config = load_config(
            {
                "input_info": {"sample_size": [1, 3, 8, 8]},
                "compression": {"algorithm": "binarization", "params": params},
            }
        )
        site = Site("conv", self.activation_binarizer, self.weight_binarizer)
        self.binarization = BinarizationState(config, [site])

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_binarizer(self.conv.weight)
        return nn.functional.conv2d(self.activation_binarizer(x), weight, self.conv.bias)


def make(
    optimizer: type[torch.optim.Optimizer] = torch.optim.Adam, **params: Any
) -> tuple[TinyModel, torch.optim.Optimizer, StagedSchedule]:
    model = TinyModel(**params)
    built = optimizer(model.parameters(), lr=1e-3, weight_decay=1e-5)  # type: ignore[call-arg]
    return model, built, StagedSchedule(model, built)


FOUR_STAGES: dict[str, Any] = {
    "activations_quant_start_epoch": 1,
    "weights_quant_start_epoch": 2,
    "lr_poly_drop_start_epoch": 3,
    "lr_poly_drop_duration_epochs": 2,
    "disable_wd_start_epoch": 3,
}
STAGES = [Stage.FULL_PRECISION, Stage.ACTIVATIONS, Stage.BINARIZED, Stage.ANNEALING, Stage.ANNEALING]


def test_learning_rate_and_weight_decay_are_the_recorded_ones_of_nncf() -> None:
    # Start 2, duration 2, weight decay off at 3, 4 batches; NNCF steps with i / len(loader) after batch i.
    _, optimizer, schedule = make(
        lr_poly_drop_start_epoch=2, lr_poly_drop_duration_epochs=2, disable_wd_start_epoch=3
    )
    rates, decays = [], []
    for epoch in range(6):
        schedule.start_epoch(epoch)
        for i in range(4):
            schedule.step(i / 4)
            rates += schedule.get_last_lr()
            decays.append(optimizer.param_groups[0]["weight_decay"])
    assert rates[:8] == [1e-3] * 8
    expected = [0.001, 0.000755, 0.000547, 0.000373, 0.000233, 0.000127, 0.0000544, 0.0000127]
    assert rates[8:16] == pytest.approx(expected, rel=5e-3)
    exact = [1e-3 * ((4 - (2 + k / 4)) / 2) ** 2.1 for k in range(8)]
    assert rates[8:16] == pytest.approx(exact, rel=1e-12)
    assert rates[16:] == [rates[15]] * 8
    assert decays == [1e-5] * 13 + [0.0] * 11  # strict: batch 0 of epoch 3 is at 3.0


def test_stepping_with_the_share_done_ends_on_the_lr_of_the_last_step_of_the_drop() -> None:
    _, _, schedule = make(lr_poly_drop_start_epoch=0, lr_poly_drop_duration_epochs=1)
    schedule.start_epoch(0)
    rates = []
    for i in range(4):
        schedule.step((i + 1) / 4)
        rates += schedule.get_last_lr()
    assert rates == pytest.approx([1e-3 * share**2.1 for share in (0.75, 0.5, 0.25, 0.25)])
    schedule.start_epoch(7)
    assert schedule.get_last_lr() == [rates[-1]]


@pytest.mark.parametrize(
    ("name", "factor"),
    [("cosine", lambda done: (1 + math.cos(math.pi * done)) / 2), ("linear", lambda done: 1 - done)],
)
def test_other_decays_are_their_formulas_and_keep_the_last_value(
    name: str, factor: Callable[[float], float]
) -> None:
    _, _, schedule = make(lr_schedule=name, lr_poly_drop_start_epoch=1, lr_poly_drop_duration_epochs=2)
    rates = []
    for epoch in range(5):
        schedule.start_epoch(epoch)
        for i in range(4):
            rates += schedule.get_last_lr()
            schedule.step((i + 1) / 4)
    assert rates[:4] == [1e-3] * 4
    assert rates[4:12] == pytest.approx([1e-3 * factor(k / 8) for k in range(8)], rel=1e-12)
    assert rates[12:] == [rates[11]] * 8
    assert schedule.stage_at(1) == Stage.ANNEALING


def test_each_stage_may_have_a_decay_of_its_own() -> None:
    _, optimizer, schedule = make(
        lr_schedule="linear",
        lr_per_stage=True,
        activations_quant_start_epoch=1,
        weights_quant_start_epoch=3,
        lr_poly_drop_start_epoch=4,
        lr_poly_drop_duration_epochs=1,
    )
    rates: dict[float, float] = {}
    ends = []
    for epoch in range(6):
        schedule.start_epoch(epoch)
        for i in range(4):
            rates[epoch + i / 4] = optimizer.param_groups[0]["lr"]
            schedule.step((i + 1) / 4)
        ends.append(optimizer.param_groups[0]["lr"])
    ramp = [1, 0.75, 0.5, 0.25]
    expected = [*ramp, *[1 - k / 8 for k in range(8)], *[1] * 4, *ramp, *[0.25] * 4]
    assert list(rates.values()) == pytest.approx([1e-3 * share for share in expected], rel=1e-12)
    # The last step of an epoch belongs to its stage, though the next one begins at the same time.
    assert ends == pytest.approx([1e-3 * share for share in (0.25, 0.5, 0.125, 1, 0.25, 0.25)], rel=1e-12)
    assert schedule.state_dict()["stages"]["lr_per_stage"] == "true"
    assert [schedule.stage_at(epoch) for epoch in (1, 3, 4)] == [STAGES[1], STAGES[2], STAGES[3]]
    schedule.start_epoch(3)
    assert schedule.get_last_lr() == [1e-3]


def test_a_decay_shorter_than_a_step_raises_no_learning_rate() -> None:
    for name in ("poly", "cosine", "linear"):
        _, _, schedule = make(
            lr_schedule=name, lr_poly_drop_start_epoch=0.5, lr_poly_drop_duration_epochs=0.1
        )
        schedule.start_epoch(0)
        schedule.step(0.5)
        schedule.step(1.0)
        assert schedule.get_last_lr() == [pytest.approx(1e-3)]


def test_walking_and_jumping_give_the_same_stage() -> None:
    model, _, schedule = make(**FOUR_STAGES)
    enabled = [(False, False), (True, False), (True, True), (True, True), (True, True)]
    for epoch in [0, 1, 2, 3, 4, 0, 4, 1, 3, 2, 0]:
        schedule.start_epoch(epoch)
        assert model.binarization.enabled == {"conv": enabled[epoch]}
        assert schedule.stage == schedule.stage_at(epoch) == STAGES[epoch]


def test_stage_at_covers_every_stage() -> None:
    params = TinyModel(**FOUR_STAGES).binarization.config.binarization.params
    assert [stage_at(params, epoch) for epoch in range(5)] == STAGES
    weights_first = TinyModel(weights_quant_start_epoch=0).binarization.config.binarization.params
    assert stage_at(weights_first, 0) == Stage.WEIGHTS_ONLY
    at_zero = TinyModel(activations_quant_start_epoch=0, weights_quant_start_epoch=0)
    assert stage_at(at_zero.binarization.config.binarization.params, 0) == Stage.BINARIZED


def test_fractional_starts_switch_inside_the_epoch() -> None:
    model, optimizer, schedule = make(
        activations_quant_start_epoch=0.5, weights_quant_start_epoch=1.75, disable_wd_start_epoch=0.5
    )
    seen = []
    for epoch in range(2):
        schedule.start_epoch(epoch)
        for i in range(4):
            schedule.step((i + 1) / 4)
            decay = optimizer.param_groups[0]["weight_decay"]
            seen.append((*model.binarization.enabled["conv"], decay > 0))
    off, half, on = (False, False, True), (True, False, True), (True, False, False)
    assert seen == [off, half, on, on, on, on, (True, True, False), (True, True, False)]


def test_next_epoch_starts_with_start_epoch_not_with_the_last_step() -> None:
    model, _, schedule = make(**FOUR_STAGES)
    for epoch in range(4):
        schedule.start_epoch(epoch)
        schedule.step(1.0)
        assert schedule.stage == STAGES[epoch]
    assert model.binarization.stage == Stage.BINARIZED


def test_going_back_restores_learning_rate_and_weight_decay() -> None:
    _, optimizer, schedule = make(**FOUR_STAGES)
    schedule.start_epoch(4)
    schedule.step(0.5)
    assert schedule.get_last_lr()[0] < 1e-3
    assert optimizer.param_groups[0]["weight_decay"] == 0
    schedule.start_epoch(2)
    assert schedule.get_last_lr() == [1e-3]
    assert optimizer.param_groups[0]["weight_decay"] == 1e-5


def test_parameter_groups_keep_their_own_base_values() -> None:
    model = TinyModel(lr_poly_drop_start_epoch=0, lr_poly_drop_duration_epochs=2, disable_wd_start_epoch=0)
    optimizer = torch.optim.SGD(
        [
            {"params": [model.conv.weight], "lr": 0.1, "weight_decay": 1e-2},
            {"params": [model.conv.bias, *model.activation_binarizer.parameters()], "lr": 0.2},
        ],
        lr=1.0,
    )
    schedule = StagedSchedule(model, optimizer)
    schedule.start_epoch(1)
    assert schedule.get_last_lr() == pytest.approx([0.1 * 0.5**2.1, 0.2 * 0.5**2.1])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0, 0]
    schedule.start_epoch(0)
    assert schedule.get_last_lr() == [0.1, 0.2]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-2, 0]


def test_own_scheduler_has_the_learning_rate_before_the_drop() -> None:
    _, optimizer, schedule = make(**FOUR_STAGES)
    own = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    for epoch in range(3):
        schedule.start_epoch(epoch)
        optimizer.step()
        schedule.step(1.0)
        assert schedule.get_last_lr() == [1e-3 * 0.5**epoch]
        own.step()
    schedule.start_epoch(3)
    assert schedule.get_last_lr() == [1e-3]


def test_group_added_later_follows_the_schedule() -> None:
    _, optimizer, schedule = make(lr_poly_drop_start_epoch=0, lr_poly_drop_duration_epochs=2)
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.5})
    schedule.start_epoch(1)
    assert schedule.get_last_lr() == pytest.approx([1e-3 * 0.5**2.1, 0.5 * 0.5**2.1])


def test_tensor_learning_rate_is_changed_in_place() -> None:
    model = TinyModel(lr_poly_drop_start_epoch=0, lr_poly_drop_duration_epochs=2)
    rate = torch.tensor(1e-3)
    schedule = StagedSchedule(model, torch.optim.Adam(model.parameters(), lr=rate))
    schedule.start_epoch(1)
    assert rate.item() == pytest.approx(1e-3 * 0.5**2.1)


def test_resumed_schedule_continues_as_the_uninterrupted_one() -> None:
    model, optimizer, schedule = make(**FOUR_STAGES)
    schedule.start_epoch(3)
    schedule.step(0.25)
    schedule.step(0.5)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), schedule.state_dict()))

    resumed_model, resumed_optimizer, resumed = make(**FOUR_STAGES)
    resumed_model.load_state_dict(saved[0])
    resumed_optimizer.load_state_dict(saved[1])
    resumed.load_state_dict(saved[2])
    assert resumed.optimizer is resumed_optimizer
    assert resumed.stage == Stage.ANNEALING
    assert resumed.state_dict() == schedule.state_dict()
    for fraction in (0.75, 1.0):
        schedule.step(fraction)
        resumed.step(fraction)
        assert resumed.get_last_lr() == schedule.get_last_lr()
        assert resumed_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    for either in (schedule, resumed):
        either.start_epoch(9)
    assert resumed.get_last_lr() == schedule.get_last_lr()
    resumed.start_epoch(0)
    assert resumed.get_last_lr() == [1e-3]
    assert resumed_optimizer.param_groups[0]["weight_decay"] == 1e-5


def test_cosine_goes_on_in_the_middle_and_another_decay_in_the_config_is_told() -> None:
    cosine = FOUR_STAGES | {"lr_schedule": "cosine"}
    _, optimizer, schedule = make(**cosine)
    schedule.start_epoch(3)
    schedule.step(0.25)
    saved = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
    assert saved[1]["stages"] == cosine
    _, resumed_optimizer, resumed = make(**cosine)
    resumed_optimizer.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    for either in (schedule, resumed):
        either.step(0.5)
    expected = 1e-3 * (1 + math.cos(math.pi / 4)) / 2
    assert resumed.get_last_lr() == schedule.get_last_lr() == [pytest.approx(expected)]
    with pytest.warns(UserWarning, match=r"lr_schedule was cosine and is not given\. The config that"):
        make(**FOUR_STAGES)[2].load_state_dict(saved[1])


def test_state_of_the_schedule_alone_sets_model_and_optimizer() -> None:
    schedule = make(**FOUR_STAGES)[2]
    schedule.start_epoch(3)
    schedule.step(0.5)
    model, _, fresh = make(**FOUR_STAGES)
    fresh.load_state_dict(schedule.state_dict())
    assert model.binarization.stage == Stage.BINARIZED
    assert fresh.get_last_lr() == schedule.get_last_lr()


def test_state_dict_is_plain() -> None:
    schedule = make(**FOUR_STAGES)[2]
    assert schedule.state_dict()["epoch"] is None
    schedule.start_epoch(3)
    schedule.step(0.5)
    assert schedule.state_dict() == {
        "epoch": 3,
        "fraction": 0.5,
        "step_length": 0.5,
        "base_lrs": [1e-3],
        "base_weight_decays": [1e-5],
        "stages": FOUR_STAGES,
    }


def test_nothing_changes_before_the_first_epoch_is_started() -> None:
    model, _, schedule = make(activations_quant_start_epoch=0, lr_poly_drop_start_epoch=0)
    stages = [schedule.stage]
    model.binarization.enable(weights=True)
    stages.append(schedule.stage)
    assert stages == [Stage.FULL_PRECISION, Stage.WEIGHTS_ONLY]
    assert schedule.get_last_lr() == [1e-3]


def test_binarizers_switched_by_hand_stay_until_the_next_epoch() -> None:
    model, _, schedule = make(**FOUR_STAGES)
    schedule.start_epoch(1)
    model.binarization.enable(activations=False)
    schedule.step(0.5)
    assert model.binarization.enabled == {"conv": (False, False)}
    schedule.start_epoch(1)
    assert model.binarization.enabled == {"conv": (True, False)}


def test_config_given_replaces_that_of_the_model() -> None:
    model = TinyModel()
    other = TinyModel(activations_quant_start_epoch=5, batch_multiplier=4).binarization.config
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = StagedSchedule(model, optimizer, other)
    assert schedule.stage_at(1) == Stage.WEIGHTS_ONLY
    assert schedule.accumulation_steps == 4


def test_wrapped_models_are_unwrapped() -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    model = TinyModel(activations_quant_start_epoch=0)
    wrapped = Wrapper(torch.compile(model))  # type: ignore[arg-type]
    StagedSchedule(wrapped, torch.optim.SGD(wrapped.parameters(), lr=0.1)).start_epoch(0)
    assert model.activation_binarizer.is_enabled


def test_optimizer_without_weight_decay_is_fine() -> None:
    model = TinyModel(disable_wd_start_epoch=0)
    schedule = StagedSchedule(model, torch.optim.LBFGS(model.parameters(), lr=0.1))
    schedule.start_epoch(1)
    assert schedule.state_dict()["base_weight_decays"] == [None]


@pytest.mark.parametrize("epoch", [-1, math.nan, math.inf])
def test_wrong_epoch_is_an_error(epoch: float) -> None:
    with pytest.raises(ConfigError, match="epoch: expected a number from 0 up, got"):
        make()[2].start_epoch(epoch)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_wrong_fraction_is_an_error(fraction: float) -> None:
    schedule = make()[2]
    schedule.start_epoch(0)
    with pytest.raises(ConfigError, match=r"fraction: expected the share .* \(batch \+ 1\) / len\(loader\)"):
        schedule.step(fraction)


def test_step_before_an_epoch_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no epoch was started"):
        make()[2].step(0.5)


def test_model_that_was_not_transformed_is_an_error() -> None:
    model = nn.Conv2d(3, 4, 3)
    with pytest.raises(TransformError, match=r"Conv2d has no binarization state.*fxbin\.transform returned"):
        StagedSchedule(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_optimizer_of_another_model_is_an_error() -> None:
    with pytest.raises(TransformError, match="none of the model's parameters"):
        StagedSchedule(TinyModel(), torch.optim.SGD(TinyModel().parameters(), lr=0.1))


def test_state_that_does_not_fit_is_an_error_and_changes_nothing() -> None:
    model, _, schedule = make(**FOUR_STAGES)
    with pytest.raises(CheckpointError, match="missing base_lrs, base_weight_decays"):
        schedule.load_state_dict({"epoch": 3, "fraction": 0.0, "step_length": None})
    two = {"base_lrs": [1, 2], "base_weight_decays": [0, 0]}
    state = {"epoch": 3, "fraction": 0.0, "step_length": None, **two}
    with pytest.raises(CheckpointError, match="saved with 2 parameter groups, the optimizer has 1"):
        schedule.load_state_dict(state)
    assert model.binarization.stage == Stage.FULL_PRECISION
    assert schedule.state_dict()["epoch"] is None
