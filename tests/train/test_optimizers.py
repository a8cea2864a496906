import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxbin.config import load_config
from fxbin.config.optimizer import make_optimizer, optimizer_names
from fxbin.errors import ConfigError
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.run import train
from tests.train.small_run import PARAMS, InterruptedAt, small_run

BINARIZATION: dict[str, Any] = {"algorithm": "binarization"}


def config_of(optimizer: object, **keys: Any) -> Any:
    return load_config({"compression": BINARIZATION, "optimizer": optimizer} | keys)


def test_an_optimizer_makes_the_steps_of_the_one_that_torch_has() -> None:
    models = [nn.Linear(3, 2)]
    models.append(copy.deepcopy(models[0]))
    value = config_of({"name": "SGD", "momentum": 0.9, "nesterov": True}).optimizer
    own = make_optimizer(value, [{"params": list(models[0].parameters()), "lr": 0.1, "weight_decay": 0.01}])
    expected = torch.optim.SGD(models[1].parameters(), 0.1, 0.9, nesterov=True, weight_decay=0.01)
    x = torch.randn(5, 3)
    for _ in range(3):
        for model, optimizer in zip(models, (own, expected), strict=True):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    assert torch.equal(models[0].weight, models[1].weight)


@pytest.mark.parametrize("name", optimizer_names())
def test_every_optimizer_that_is_offered_trains_a_convolution(name: str) -> None:
    model = nn.Conv2d(2, 2, 3)
    before = model.weight.detach().clone()
    optimizer = make_optimizer(name, model.parameters(), lr=0.1)
    model(torch.randn(1, 2, 4, 4)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.weight, before)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("Adamm", 'optimizer: got "Adamm", expected one of ASGD, Adadelta, '),
        ("Adamm", 'Did you mean "Adam", "'),
        ({"name": "sgd"}, 'optimizer.name: got "sgd", expected one of'),
        (
            {"name": "SGD", "momentun": 0.9},
            "optimizer.momentun: got 0.9, expected an argument of SGD: momentum",
        ),
        ({"name": "SGD", "momentun": 0.9}, 'Did you mean "momentum"?'),
        ({"name": "SGD", "lr": 0.1}, "optimizer.lr: got 0.1, expected none of lr, weight_decay, "),
        (
            {"name": "SGD", "weight_decay": 0.1},
            'It is "compression.params.base_wd" in the stages, "pretrain.w',
        ),
        ({"name": "Adam", "maximize": True}, "It would make the loss as large as possible."),
        ({"name": "Adam", "betas": [2, 0.9]}, "torch says: Invalid beta parameter at index 0: 2"),
        ({"momentum": 0.9}, "expected the name of an optimizer of torch.optim, or an object with it."),
        (3, "optimizer: got 3, expected the name of an optimizer of torch.optim"),
        ("LBFGS", "LBFGS cannot train here: its step evaluates the loss several times by a closure"),
        ("SparseAdam", "those of convolutions are dense."),
    ],
)
def test_what_is_wrong_with_an_optimizer_is_said(optimizer: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(optimizer)
    assert expected in str(caught.value)


def test_a_weight_decay_that_the_optimizer_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match='optimizer: got "Rprop", expected an optimizer with weight decay'):
        config_of("Rprop")
    params = {"params": {"base_wd": 0}}
    with pytest.raises(ConfigError, match='write "weight_decay": 0 in "pretrain"'):
        config_of("Rprop", compression=BINARIZATION | params)
    with pytest.raises(ConfigError, match=r'pretrain\.optimizer: got "Rprop"'):
        config_of("Adam", pretrain={"optimizer": "Rprop"})
    config_of("Rprop", compression=BINARIZATION | params, pretrain={"optimizer": "SGD"})
    config_of("Rprop", compression=BINARIZATION | params, pretrain={"weight_decay": 0})


def test_the_optimizer_section_of_nncf_has_no_effect_and_is_noted() -> None:
    config = config_of({"type": "SGD", "base_lr": 0.1})
    assert config.notes == ("optimizer: accepted for configs written for NNCF, without effect",)
    assert type(make_optimizer(config.optimizer, [nn.Parameter(torch.ones(2))])) is torch.optim.Adam


def test_both_phases_use_their_optimizers_and_resume_with_the_same_numbers(tmp_path: Path) -> None:
    keys = {
        "optimizer": {"name": "SGD", "momentum": 0.9},
        "pretrain": {"epochs": 1, "optimizer": {"name": "RMSprop", "alpha": 0.9}},
        "compression": BINARIZATION | {"params": PARAMS | {"wd_exclude": ["norms"]}},
        "gradient_clip": {"norm": 0.5},
    }
    whole = train(small_run(tmp_path, **keys), tmp_path / "whole")
    for batch in (4, 13):
        with pytest.raises(KeyboardInterrupt):
            train(small_run(tmp_path, **keys), tmp_path / "parts", progress=InterruptedAt(batch))
        kept = load_checkpoint(tmp_path / "parts" / "checkpoint.pt").optimizer["param_groups"]
        assert ("alpha" in kept[0], "momentum" in kept[0], len(kept)) == (
            (True, True, 1) if batch == 4 else (False, True, 2)
        )
    parts = train(small_run(tmp_path, **keys), tmp_path / "parts")
    assert all(
        torch.equal(value, parts.model.state_dict()[name]) for name, value in whole.model.state_dict().items()
    )
    assert [record.lr for record in whole.history[1:4]] == [0.01] * 3
