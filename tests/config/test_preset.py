"""Presets: each is a config, and the config's own keys override it."""

from typing import Any

import pytest
import torch
from torch import nn

import fxbin
from fxbin.config import load_config
from fxbin.config.preset import preset, preset_names
from fxbin.errors import ConfigError

INPUT = {"input_info": {"sample_size": [1, 3, 8, 8]}}
NAMES = ("adabin", "bireal", "irnet", "nncf", "nncf_tuned", "reactnet", "recommended", "recu")


def test_these_are_the_presets() -> None:
    assert preset_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_alone_is_a_config_that_trains(name: str) -> None:
    config = load_config({"preset": name, **INPUT})
    assert config.preset == name
    assert load_config(config.to_dict()) == config
    model = fxbin.transform(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)), config
    )
    model.binarization.enable()
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("as_list", [False, True])
def test_keys_of_the_config_override_those_of_the_preset_and_parts_do_so_as_a_whole(as_list: bool) -> None:
    own: Any = {
        "algorithm": "binarization",
        "activations": {"levels": {"name": "sign"}},
        "params": {"base_lr": 0.5},
    }
    config = load_config({"preset": "reactnet", "compression": [own] if as_list else own, **INPUT})
    section = config.binarization
    assert section.params.base_lr == 0.5
    assert section.activations.levels == {"name": "sign"}
    assert section.activations.estimator == "approx_sign"
    assert section.params.base_wd == preset("reactnet")["compression"]["params"]["base_wd"]


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r'preset: got "reactent", expected one of adabin,.*"reactnet"'
    ) as error:
        load_config({"preset": "reactent", "compression": {"algorithm": "binarization"}, **INPUT})
    assert str(error.value).count("\n") == 0


def test_problems_are_told_with_the_keys_as_written() -> None:
    own = {"algorithm": "binarization", "params": {"base_lr": -1}}
    with pytest.raises(ConfigError, match=r"compression\[0\].params.base_lr: got -1"):
        load_config({"preset": "irnet", "compression": [own], **INPUT})
