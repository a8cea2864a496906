"""The keys of NNCF's checkpoints: those that it adds to any model, and the spellings that are understood."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxbin
from fxbin.nncf import load_nncf_checkpoint, save_nncf_checkpoint
from fxbin.nncf.keys import PRE_OP, entries
from fxbin.nncf.read import read_file
from tests.corner_cases import CASES, CORNER_CASES
from tests.nncf.checkpoints import new_model, recorded

DIFFERENT = {
    # Not copyable, or without a conv2d in the graph: `transform` refuses them.
    "LSTMNet", "ScriptedFunction", "WeightNormOld",
}  # fmt: skip


@pytest.mark.parametrize(
    "case", [k for k, v in CORNER_CASES.items() if v.get("added_keys") and k not in DIFFERENT]
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:no conv2d is")
def test_keys_and_shapes_that_nncf_adds_are_the_recorded_ones(case: str) -> None:
    original = CASES[case]()
    config = {"compression": {"algorithm": "binarization", "call_sites": "modules"}}
    model = fxbin.transform(original, config, CASES[case].sample_inputs())
    tensors = model.state_dict()
    found = {
        entry.nncf: [1] if entry.own is None else list(tensors[entry.own].shape)
        for entry in entries(model)
        if entry.nncf not in original.state_dict()
    }
    assert list(found.items()) == list(CORNER_CASES[case]["added_keys"].items())


def test_conv_called_twice_goes_there_and_back(tmp_path: Path) -> None:
    case = CASES["ReusedConv"]
    config = {"compression": {"algorithm": "binarization"}}
    model = fxbin.transform(case(), config, case.sample_inputs())
    for number, site in enumerate(model.binarization.sites.values()):
        site.activation.scale.data.fill_(number)
    save_nncf_checkpoint(model, tmp_path / "twice.pth")
    state = read_file(tmp_path / "twice.pth")["state_dict"]
    assert [state[f"conv.pre_ops.{number}.op.scale"].item() for number in (1, 3)] == [0, 1]
    again = fxbin.transform(case(), config, case.sample_inputs())
    report = load_nncf_checkpoint(again, tmp_path / "twice.pth")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert report.notes[0].startswith("conv: called more than once.")


def renamed(state: dict[str, Tensor], rule: Any) -> dict[str, Tensor]:
    return {rule(key): value for key, value in state.items()}


def test_operations_may_be_in_any_order() -> None:
    golden = recorded()
    swap = str.maketrans("01", "10")
    state = renamed(
        golden["state_dict"],
        lambda key: (
            f"{m['conv']}.pre_ops.{m['number'].translate(swap)}.op.{m['entry']}"
            if (m := PRE_OP.fullmatch(key))
            else key
        ),
    )
    assert set(state) != set(golden["state_dict"])
    model = new_model(golden)
    load_nncf_checkpoint(model, state)
    assert (model(golden["input"]) - golden["eval_output"]).abs().max() < 1e-6


@pytest.mark.parametrize(
    "rule",
    [
        lambda key: f"module.{key}",
        lambda key: f"nncf_module.{key}",
        lambda key: f"module.nncf_module.{key}",
        lambda key: f"nncf_module.{key}".replace("layer1.", "layer1.module."),
    ],
    ids=["data parallel", "before NNCF 2.5", "both", "a part of the model"],
)
def test_prefixes_of_wrappers_are_dropped(rule: Any) -> None:
    golden = recorded()
    model = new_model(golden)
    load_nncf_checkpoint(model, renamed(golden["state_dict"], rule))
    assert (model(golden["input"]) - golden["eval_output"]).abs().max() < 1e-6


class Outer(nn.Module):
    """All of it is in a module that is called as wrappers call it."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module(x)
        return y


class Ambiguous(nn.Module):
    """Without the word `module`, its two convolutions would have one key."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.module = nn.ModuleDict({"conv": nn.Conv2d(3, 3, 1)})

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module["conv"](self.conv(x))
        return y


@pytest.mark.parametrize("model_class", [Outer, Ambiguous])
@pytest.mark.parametrize("prefix", ["", "module.", "nncf_module.", "module.nncf_module."])
def test_module_that_is_named_module_is_found(model_class: type[nn.Module], prefix: str) -> None:
    config = {
        "input_info": {"sample_size": [1, 3, 4, 4]},
        "compression": {"algorithm": "binarization"},
    }
    model = fxbin.transform(model_class(), config)
    own = model.state_dict()
    state = {
        prefix + entry.nncf: torch.zeros(1) if entry.own is None else torch.full_like(own[entry.own], number)
        for number, entry in enumerate(entries(model), 1)
    }
    load_nncf_checkpoint(model, state)
    for entry in entries(model):
        if entry.own is not None:
            assert torch.equal(model.state_dict()[entry.own], state[prefix + entry.nncf])
