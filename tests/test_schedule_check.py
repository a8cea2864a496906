import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

import fxbin
from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.state import Stage
from fxbin.errors import CheckpointError, ConfigError, TransformError
from tests.transforming import SMALL, Small

# Some tests here move through epochs without any training in them.
DRY = "ignore:optimizer. the last epoch changed none"
PARAMS = {"activations_quant_start_epoch": 1, "weights_quant_start_epoch": 2}


class Net(nn.Module):
    """Two convolutions, one of which a switch leaves out."""

    skips = False

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        if not (self.skips and self.training):
            x = self.second(x)
        y: Tensor = self.head(x.mean((2, 3)))
        return y


def transformed(net: nn.Module, **params: Any) -> BinarizedModule:
    config = {
        "input_info": {"sample_size": [1, 3, 6, 6]},
        "compression": {"algorithm": "binarization", "params": {**PARAMS, **params}},
    }
    return fxbin.transform(net, config)


def train(
    schedule: fxbin.StagedSchedule, model: nn.Module, optimizer: Optimizer, epochs: range = range(3)
) -> None:
    """As docs/staged_training.md has it, three batches an epoch."""
    for epoch in epochs:
        schedule.start_epoch(epoch)
        for step in range(3):
            optimizer.zero_grad()
            model(torch.rand(4, 3, 6, 6)).square().sum().backward()
            optimizer.step()
            schedule.step((step + 1) / 3)


@pytest.mark.parametrize("optimizer", [Adam, SGD])
def test_a_loop_as_in_the_docs_gives_no_warning(optimizer: Callable[..., Optimizer]) -> None:
    model = transformed(Net())
    built = optimizer(fxbin.parameter_groups(model))
    schedule = fxbin.StagedSchedule(model, built)
    train(schedule, model, built)
    assert schedule.is_final


@pytest.mark.filterwarnings(DRY)
def test_progress_that_goes_back_within_an_epoch_is_an_error() -> None:
    model = transformed(Net())
    schedule = fxbin.StagedSchedule(model, SGD(model.parameters(), lr=0.1))
    schedule.start_epoch(0)
    for fraction in (0.25, 0.5, 0.5, 1.0):
        schedule.step(fraction)
    with pytest.raises(ConfigError, match=r"fraction: 0\.25 comes after 1 within epoch 0\. Call start_epoch"):
        schedule.step(0.25)
    schedule.start_epoch(1)
    schedule.step(0.25)


def test_two_schedules_that_disagree_are_an_error_at_the_next_step() -> None:
    model = transformed(Net())
    optimizer = SGD(model.parameters(), lr=0.1)
    first, second = (fxbin.StagedSchedule(model, optimizer) for _ in range(2))
    first.start_epoch(0)
    second.start_epoch(5)
    with pytest.raises(
        ConfigError, match="another StagedSchedule has started another epoch of the same model"
    ):
        first.step(0.5)
    second.step(0.5)
    # Who starts an epoch has the model again: a loop that is run once more, with a schedule of its own.
    first.start_epoch(0)
    first.step(0.5)


def test_two_schedules_with_other_stages_are_an_error() -> None:
    model = transformed(Net())
    optimizer = SGD(model.parameters(), lr=0.1)
    other = transformed(Net(), weights_quant_start_epoch=7).binarization.config
    first = fxbin.StagedSchedule(model, optimizer)
    second = fxbin.StagedSchedule(model, optimizer, other.to_dict())
    for schedule in (first, second):
        schedule.start_epoch(3)
    with pytest.raises(ConfigError, match="or has other stages"):
        first.step(0.5)


@pytest.mark.filterwarnings(DRY)
def test_two_schedules_in_step_are_fine() -> None:
    model = transformed(Net())
    schedules = [fxbin.StagedSchedule(model, SGD(model.parameters(), lr=0.1)) for _ in range(2)]
    for epoch in range(2):
        for schedule in schedules:
            schedule.start_epoch(epoch)
        for schedule in schedules:
            schedule.step(0.5)
    assert model.binarization.stage == Stage.ACTIVATIONS


def test_a_copy_of_the_model_has_a_schedule_of_its_own() -> None:
    model = transformed(Net())
    schedule = fxbin.StagedSchedule(model, SGD(model.parameters(), lr=0.1))
    schedule.start_epoch(0)
    other = copy.deepcopy(model)
    fxbin.StagedSchedule(other, SGD(other.parameters(), lr=0.1)).start_epoch(5)
    schedule.step(0.5)
    assert model.binarization.stage == Stage.FULL_PRECISION


def head_alone(model: BinarizedModule) -> list[nn.Parameter]:
    return [*model.get_submodule("head").parameters()]


def without_binarizers(model: BinarizedModule) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if "binarizer" not in name]


def without_weights(model: BinarizedModule) -> list[nn.Parameter]:
    return [*head_alone(model), *model.binarization.parameters()]


FIRST = "first.activation_binarizer"
SECOND = "second.activation_binarizer"


@pytest.mark.parametrize(
    ("chosen", "missing"),
    [
        (head_alone, f"6 of the 6 .* {FIRST}.scale, .*, second.weight, {SECOND}.scale and 1 more. Build"),
        (
            without_binarizers,
            f"4 of the 6 .*: {FIRST}.scale, {FIRST}.threshold, {SECOND}.scale, {SECOND}.thr",
        ),
        (without_weights, "2 of the 6 .*: first.weight, second.weight. Build"),
    ],
)
def test_what_the_optimizer_leaves_out_is_named(
    chosen: Callable[[BinarizedModule], list[nn.Parameter]], missing: str
) -> None:
    model = transformed(Net())
    with pytest.warns(UserWarning, match=f"^optimizer: {missing}"):
        fxbin.StagedSchedule(model, SGD(chosen(model), lr=0.1))


def test_the_copys_scales_beside_the_originals_weights_are_named() -> None:
    original = Net()
    model = transformed(original)
    parameters = [*original.parameters(), *model.binarization.parameters()]
    with pytest.warns(UserWarning, match=r"2 of the 6 .*: first\.weight, second\.weight\. Build"):
        fxbin.StagedSchedule(model, SGD(parameters, lr=0.1))


def test_frozen_parameters_need_no_optimizer() -> None:
    model = transformed(Net())
    for parameter in (p for layer in ("first", "second") for p in model.get_submodule(layer).parameters()):
        parameter.requires_grad_(False)
    fxbin.StagedSchedule(model, SGD(head_alone(model), lr=0.1))


def test_several_optimizers_share_the_parameters() -> None:
    model = transformed(Net(), lr_poly_drop_start_epoch=0, lr_poly_drop_duration_epochs=2)
    learned = SGD(model.binarization.parameters(), lr=1.0)
    others = Adam(without_binarizers(model), lr=0.5)
    schedule = fxbin.StagedSchedule(model, [learned, others])
    schedule.start_epoch(1)
    assert schedule.get_last_lr() == pytest.approx([0.5**2.1, 0.5 * 0.5**2.1])
    assert [group["lr"] for group in learned.param_groups] == schedule.get_last_lr()[:1]
    state = schedule.state_dict()
    assert state["base_lrs"] == [1.0, 0.5]
    schedule.load_state_dict(state)


def test_the_original_in_place_of_the_copy_is_noticed_after_an_epoch() -> None:
    original = Net()
    model = transformed(original)
    optimizer = Adam(model.parameters())
    schedule = fxbin.StagedSchedule(model, optimizer)
    train(schedule, original, optimizer, range(1))
    with pytest.warns(UserWarning, match="the last epoch changed none of its parameters. Train the m"):
        schedule.start_epoch(1)
    with pytest.warns(UserWarning, match="no training batch came through Net/NNCFConv2d") as caught:
        train(schedule, original, optimizer, range(1, 3))
    assert len(caught) == 1


@pytest.mark.parametrize("first", [0, 1])
def test_another_optimizer_in_place_of_the_one_given_is_noticed_after_an_epoch(first: int) -> None:
    model = transformed(Net())
    given, other = SGD(model.parameters(), lr=0.1), SGD(model.parameters(), lr=0.1)
    schedule = fxbin.StagedSchedule(model, given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(schedule, model, given, range(first))
        train(schedule, model, other, range(first, first + 1))
    with pytest.warns(
        UserWarning, match="the last epoch changed its parameters, but not by its step"
    ) as caught:
        train(schedule, model, other, range(first + 1, first + 3))
    assert len(caught) == 1


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_epoch_that_was_trained_before_it_was_loaded_gives_no_warning(epochs: int) -> None:
    model = transformed(Net())
    built = SGD(fxbin.parameter_groups(model), lr=0.1)  # without momentum, so that it has no state
    schedule = fxbin.StagedSchedule(model, built)
    train(schedule, model, built, range(epochs))
    resumed = copy.deepcopy(model)
    optimizer = SGD(fxbin.parameter_groups(resumed), lr=0.1)
    other = fxbin.StagedSchedule(resumed, optimizer)
    other.load_state_dict(schedule.state_dict())
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.copy_(parameter.clone())  # as DistributedDataParallel does when it is made
    train(other, resumed, optimizer, range(epochs, 3))


def test_compiled_steps_count() -> None:
    model = transformed(Net())
    optimizer = SGD(model.parameters(), lr=0.1)
    schedule = fxbin.StagedSchedule(model, optimizer)
    torch.compiler.reset()
    # As the documentation of torch has it.
    optimizer.step = torch.compile(optimizer.step, backend="eager")  # type: ignore[method-assign]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="optimizer")
        train(schedule, model, optimizer, range(3))


def test_call_sites_that_training_never_ran_are_named_once() -> None:
    class Skips(Net):
        skips = True

    model = transformed(Skips())
    optimizer = SGD(model.parameters(), lr=0.1)
    schedule = fxbin.StagedSchedule(model, optimizer)
    train(schedule, model, optimizer, range(2))
    message = r"no training batch came through Skips/NNCFConv2d\[second\]/conv2d_0: the scale is where it was"
    with pytest.warns(UserWarning, match=message):
        schedule.start_epoch(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(schedule, model, optimizer, range(2, 5))


def test_a_loop_that_stays_in_eval_mode_is_noticed() -> None:
    model = transformed(Net())
    optimizer = SGD(model.parameters(), lr=0.1)
    schedule = fxbin.StagedSchedule(model, optimizer)
    train(schedule, model, optimizer, range(1))
    model.eval()
    with pytest.warns(
        UserWarning, match=r"came through Net.*first.*, Net.*second.*in train mode \(model\.tr"
    ):
        train(schedule, model, optimizer, range(1, 3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda o: torch.optim.lr_scheduler.StepLR(o, 1), "got StepLR. Pass the optimizer that it drives"),
        (lambda _o: "adam", "got str, or a list of them"),
        (lambda o: o.param_groups[0]["params"][0], "got Parameter"),
        (lambda o: [o, None], "got NoneType"),
        (lambda _o: [], "expected at least one torch.optim.Optimizer, got none"),
    ],
)
def test_what_is_no_optimizer_is_refused(wrong: Callable[[Optimizer], Any], message: str) -> None:
    model = transformed(Net())
    with pytest.raises(TransformError, match=f"^optimizer: .*{message}"):
        fxbin.StagedSchedule(model, wrong(SGD(model.parameters(), lr=0.1)))


def test_it_is_final_once_all_is_binarized() -> None:
    model = transformed(Net(), lr_poly_drop_start_epoch=4, weights_quant_start_epoch=2.5)
    schedule = fxbin.StagedSchedule(model, SGD(model.parameters(), lr=0.1))
    model.binarization.enable()
    assert schedule.is_final  # not driven yet: read off the model
    found = []
    for epoch in range(6):
        schedule.start_epoch(epoch)
        found.append(schedule.is_final)
    assert found == [False, False, False, True, True, True]
    schedule.start_epoch(2)
    schedule.step(0.4)
    final_in_between = schedule.is_final
    schedule.step(0.5)
    assert (final_in_between, schedule.is_final) == (False, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _s: None, "expected what schedule.state_dict.. gave, got None"),
        (lambda _s: [1], "expected what schedule.state_dict.. gave, got list"),
        (lambda _s: {}, "missing base_lrs, base_weight_decays, epoch, fraction, step_length"),
        (lambda s: s | {"epoch": "3"}, "epoch: expected a number from 0 up or None, got '3'"),
        (
            lambda s: s | {"epoch": -1, "fraction": 2},
            "epoch: .* got -1; fraction: expected a number from 0 to 1, got 2",
        ),
        (lambda s: s | {"step_length": 0}, "step_length: expected a number above 0, up to 1, or None, got 0"),
        (lambda s: s | {"base_lrs": None}, "base_lrs: expected a list of numbers, got None"),
        (lambda s: s | {"base_lrs": [True]}, "base_lrs: expected a list of numbers, got list"),
        (lambda s: s | {"base_weight_decays": []}, "base_weight_decays: expected a number or None for each"),
        (lambda s: s | {"stages": 1}, "stages: expected an object, got 1"),
        (lambda s: s | {"base_lrs": [1, 2], "base_weight_decays": [0, 0]}, "saved with 2 parameter groups"),
    ],
)
def test_a_state_of_another_kind_is_refused_and_changes_nothing(
    change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    model = transformed(Net())
    optimizer = SGD(model.parameters(), lr=0.1)
    schedule = fxbin.StagedSchedule(model, optimizer)
    before = copy.deepcopy(optimizer.state_dict())
    good = schedule.state_dict() | {"epoch": 2, "base_lrs": [0.5]}
    with pytest.raises(CheckpointError, match=f"^schedule state: .*{message}"):
        schedule.load_state_dict(change(good))
    assert optimizer.state_dict() == before
    assert schedule.state_dict()["epoch"] is None
    assert model.binarization.stage == Stage.FULL_PRECISION


def test_a_state_saved_with_other_stages_is_told() -> None:
    def made(**params: Any) -> fxbin.StagedSchedule:
        model = transformed(Net(), **params)
        return fxbin.StagedSchedule(model, SGD(model.parameters(), lr=0.1))

    saved = made()
    saved.start_epoch(3)
    target = made(weights_quant_start_epoch=5, disable_wd_start_epoch=4)
    message = (
        "weights_quant_start_epoch was 2 and is 5; disable_wd_start_epoch was not given and is 4. The con"
    )
    with pytest.warns(UserWarning, match=message):
        target.load_state_dict(saved.state_dict())
    assert target.stage == Stage.ACTIVATIONS
    made().load_state_dict(saved.state_dict())
    earlier = {key: value for key, value in saved.state_dict().items() if key != "stages"}
    made(weights_quant_start_epoch=5).load_state_dict(earlier)


def test_an_epoch_that_goes_on_after_its_end_is_told_of() -> None:
    model = fxbin.transform(Small(), SMALL)
    schedule = fxbin.StagedSchedule(model, torch.optim.SGD(model.parameters(), 0.1))
    schedule.start_epoch(0)
    schedule.step(1.0)
    with pytest.warns(UserWarning, match=r"step: epoch 0 was already over\. Call start_epoch\(epoch\)"):
        schedule.step(1.0)
