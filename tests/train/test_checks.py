"""`fxbin check`: all problems of a config at once, also against a model."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fxbin.errors import DataError
from fxbin.train.checks import check
from fxbin.train.run import train
from tests.folders import write_folder
from tests.tiny_resnet import TinyResNet


def config(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "input_info": {"sample_size": [1, 3, 16, 16]},
        "compression": {"algorithm": "binarization"},
    }
    return base | changes


def binarization(**keys: Any) -> dict[str, Any]:
    return {"algorithm": "binarization", **keys}


def test_a_config_that_is_right_has_no_problem() -> None:
    section = binarization(params={"activation_scale_init": "mse"})
    found = check(config(compression=section), TinyResNet())
    assert found.problems == ()
    assert found.notes == ("10 of 10 conv2d are binarized",)


def test_a_start_as_in_nncf_is_noted_unless_the_config_asks_for_it() -> None:
    note = "params.activation_scale_init: not given, so scales start as in NNCF"
    for asks, given in ((False, {}), (True, {"preset": "nncf"}), (True, {"preset": "reactnet"})):
        notes = check(config(**given)).notes
        assert any(each.startswith(note) for each in notes) is not asks


def test_the_preset_that_the_config_has_is_not_advised() -> None:
    for keys, is_advised in (({}, True), ({"preset": "recommended"}, False)):
        notes = check(config(compression=binarization(mode="xnor"), **keys)).notes
        (note,) = (each for each in notes if "activation_scale_init: not given" in each)
        assert ('set it to "mse"' in note, "preset" in note) == (True, is_advised)


def test_problems_of_the_config_come_all_at_once(tmp_path: Path) -> None:
    wrong = config(epoch=1, compression=binarization(mode="xnr", ignored_scopes=["{re}["]))
    path = tmp_path / "wrong.json5"
    path.write_text(json.dumps(wrong))
    for source in (wrong, path, str(path)):
        assert sorted(problem.split(":")[0] for problem in check(source).problems) == [
            "compression.ignored_scopes[0]",
            "compression.mode",
            "epoch",
        ]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (problem,) = check(tmp_path / "none.json5").problems
    assert "no such file" in problem
    (tmp_path / "broken.json5").write_text("{")
    (problem,) = check(tmp_path / "broken.json5").problems
    assert "broken.json5, line 1" in problem


def test_inputs_that_do_not_fit_are_a_problem() -> None:
    (problem,) = check(config(input_info={"sample_size": [1, 4, 16, 16]}), TinyResNet()).problems
    assert "TinyResNet cannot be traced" in problem
    (problem,) = check({"compression": binarization()}, TinyResNet()).problems
    assert problem.startswith("input_info")


def test_every_scope_that_matches_nothing_is_a_problem() -> None:
    section = binarization(ignored_scopes=["foo"], target_scopes=["TinyResNet/Conv2d[conv1]/conv2d_0"])
    found = check(config(compression=section, ignored_scopes="bar"), TinyResNet())
    assert [problem.split(" matches")[0] for problem in found.problems] == [
        'ignored_scopes: "bar"',
        'compression.ignored_scopes: "foo"',
        'compression.target_scopes: "TinyResNet/Conv2d[conv1]/conv2d_0"',
    ]
    assert 'Did you mean "TinyResNet/NNCFConv2d[conv1]/conv2d_0"?' in found.problems[2]


def test_what_may_surprise_is_a_note() -> None:
    section = binarization(
        ignored_scopes=["{re}conv2", "foo"],
        target_scopes=["{re}layer1"],
        validate_scopes=False,
        params={"weights_quant_start_epoch": 5},
        initializer={},
    )
    found = check(
        config(compression=section, target_scopes=["{re}layer2"], epochs=5, optimizer={}), TinyResNet()
    )
    assert found.problems == ()
    starts = [
        "optimizer: accepted",
        "compression.initializer: accepted",
        "compression.target_scopes: without effect",
        "compression.params.weights_quant_start_epoch: 5 is not reached in 5 epochs: at least 6 are needed",
        "params.activation_scale_init: not given",
        'compression.ignored_scopes: "foo" matches no node',
        'compression.ignored_scopes: "{re}conv2" matches',
        '0 of 10 conv2d are binarized (in ignored_scopes: "{re}conv2"',
    ]
    assert len(found.notes) == len(starts)
    for note, start in zip(found.notes, starts, strict=True):
        assert note.startswith(start)


def test_the_model_is_left_alone() -> None:
    model = TinyResNet().train()
    check(config(), model)
    assert model.training
    assert type(model) is TinyResNet


def test_features_that_the_model_does_not_have_are_a_problem() -> None:
    assert check(config(distillation={"features": ["layer1"]}), TinyResNet()).problems == ()
    (problem,) = check(config(distillation={"features": ["layer9"]}), TinyResNet()).problems
    assert problem.startswith(
        "distillation.features: 'layer9' is no module of TinyResNet. Did you mean 'layer"
    )
    disabled = {"features": ["layer9"], "enabled": False}
    assert check(config(distillation=disabled), TinyResNet()).problems == ()


BAD_LABEL = """
import torch


class Grey(torch.utils.data.Dataset):
    classes = ("a", "b")

    def __init__(self, wrong=None):
        self.wrong = wrong

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.zeros(3, 16, 16, dtype=torch.uint8), 7 if index == self.wrong else index % 2


def make():
    return Grey(), Grey(wrong=7)
"""


@pytest.mark.parametrize("kind", ["picture", "label"])
def test_held_out_pictures_that_cannot_be_used_are_found_before_a_training(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("torchvision")
    if kind == "picture":
        write_folder(tmp_path / "train", classes=2, pictures=4)
        write_folder(tmp_path / "val", classes=2, pictures=4)
        (tmp_path / "val/class_1/001.png").write_text("no picture")
        data, message = f"folder:{tmp_path}", r"1 of 8 held-out pictures cannot be read: .*class_1/001\.png"
    else:
        (tmp_path / "own.py").write_text(BAD_LABEL)
        data, message = f"{tmp_path / 'own.py'}:make", "picture 7 of .*, held out: the label is 7, expected"
    keys = config(data=data, workers=0, model="resnet_thin", device="cpu")
    (problem,) = check(keys).problems
    assert re.search(message, problem)
    with pytest.raises(DataError, match=message):
        train(keys, tmp_path / "run")
    assert not (tmp_path / "run").exists()
