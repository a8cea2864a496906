"""What `repr` and `help` show of a config, a schedule, a state and fxbin itself."""

import pydoc
from collections.abc import Callable

import pytest
import torch

import fxbin
from fxbin import config as configs


def test_config_shows_what_is_set() -> None:
    config = fxbin.load_config(
        {
            "input_info": {"sample_size": [1, 3, 8, 8]},
            "compression": {"algorithm": "binarization", "mode": "dorefa"},
        }
    )
    assert repr(config) == str(config)
    assert repr(config) == (
        "Config(input_info=(InputInfo(sample_size=(1, 3, 8, 8)),), "
        "compression=(Binarization(algorithm='binarization', mode='dorefa'),))"
    )
    assert eval(repr(config), vars(configs)) == config


@pytest.mark.parametrize("change", [lambda c: setattr(c, "epochs", 3), lambda c: delattr(c, "epochs")])
def test_config_that_is_changed_says_how_to_make_another(change: Callable[[fxbin.Config], None]) -> None:
    config = fxbin.load_config({"compression": {"algorithm": "binarization"}})
    with pytest.raises(
        fxbin.ConfigError, match=r"^Config: cannot (set epochs = 3|delete epochs), as .*to_dict"
    ):
        change(config)
    assert config.epochs == fxbin.load_config(config.to_dict()).epochs != 3


def test_config_shows_what_its_preset_sets() -> None:
    config = fxbin.load_config({"preset": "recommended", "compression": {"algorithm": "binarization"}})
    assert "rewrites=('downsample_pooling', 'shortcuts', 'rprelu')" in repr(config)
    assert "preset='recommended'" in repr(config)


def test_help_of_the_config_begins_with_its_keys() -> None:
    head = pydoc.plain(pydoc.render_doc(fxbin.Config)).partition("The options of")[0]
    # From Python 3.13 on, a long signature has a line for each parameter.
    signature = head.replace(" ", "").replace("\n|", "")
    assert "Config(*,compression," in signature
    assert "input_info=(),preset=None" in signature
    assert "typing" not in head
    assert "log_dir" not in head  # has no effect
    assert "schema_file" not in head  # in a config it is "$schema"


def test_help_begins_with_an_example() -> None:
    text = pydoc.plain(pydoc.render_doc(fxbin))
    example = [
        line for line in text.split("PACKAGE CONTENTS")[0].splitlines() if ">>> " in line or "... " in line
    ]
    assert 10 <= len(example) <= 12
    assert "fxbin.transform(model, config)" in "".join(example)


def in_stages() -> tuple[fxbin.BinarizedModule, fxbin.StagedSchedule]:
    """A model whose weights are binarized from epoch 2 on, and its schedule."""
    params = {"activations_quant_start_epoch": 0, "weights_quant_start_epoch": 2}
    section = {"algorithm": "binarization", "params": params}
    config = {"input_info": {"sample_size": [1, 3, 8, 8]}, "compression": section}
    model = fxbin.transform(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), config)
    assert isinstance(model, fxbin.BinarizedModule)
    return model, fxbin.StagedSchedule(model, torch.optim.Adam(model.parameters(), lr=2e-3))


def test_schedule_and_state_agree_at_the_end_of_an_epoch() -> None:
    model, schedule = in_stages()
    schedule.start_epoch(1)
    for shown in (repr(schedule), repr(model.binarization)):
        assert "stage 'activations', epoch 1" in shown
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert isinstance(schedule.optimizer, torch.optim.Adam)
    schedule.optimizer.step()
    schedule.step(1.0)
    for shown in (repr(schedule), repr(model.binarization)):
        assert "stage 'activations', epoch 1, finished" in shown
    schedule.start_epoch(2)
    for shown in (repr(schedule), repr(model.binarization)):
        assert "stage 'activations and weights', epoch 2" in shown
    other_model, other = in_stages()
    schedule.step(1.0)
    other.load_state_dict(schedule.state_dict())
    for shown in (repr(other), repr(other_model.binarization)):
        assert "stage 'activations and weights', epoch 2, finished" in shown


def test_schedule_and_state_say_stage_and_epoch() -> None:
    model, schedule = in_stages()
    assert repr(schedule) == "<StagedSchedule: stage 'full precision', no epoch started, learning rate 0.002>"
    assert repr(model.binarization).startswith(
        "<BinarizationState: stage 'full precision', no epoch started; "
    )
    schedule.start_epoch(1)
    schedule.step(0.5)
    assert repr(schedule) == "<StagedSchedule: stage 'activations', epoch 1.5, learning rate 0.002>"
    assert repr(model.binarization) == (
        "<BinarizationState: stage 'activations', epoch 1.5; of 1 call sites, 1 have binarized activations "
        "and 0 binarized weights>"
    )
