from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from fxbin.cli import main
from fxbin.config import load_config
from fxbin.errors import ConfigError
from fxbin.train.plan_table import draw_plan, plan_table, planned_epochs
from fxbin.train.run import train
from tests.train.small_run import PARAMS, small_run

PLAN = """
  epoch  stage                     lr, first   lr, last       wd  learning rate
    1/1  pretraining                2.00e-03   0.00e+00  1.0e-04  ██████
    1/5  full precision             1.00e-02   1.00e-02  1.0e-05  ██████████████████████████████
    2/5  activations                1.00e-02   1.00e-02  1.0e-05  ██████████████████████████████
    3/5  activations and weights    1.00e-02   1.00e-02  1.0e-05  ██████████████████████████████
    4/5  learning rate falls        1.00e-02   2.33e-03  1.0e-05  ██████████████████████████████
    5/5  learning rate falls        2.33e-03   1.47e-07  0.0e+00  ███████
"""


def test_the_plan_has_stage_and_learning_rate_of_each_epoch(tmp_path: Path) -> None:
    assert plan_table(load_config(small_run(tmp_path))) == PLAN.strip("\n")


@pytest.mark.parametrize(
    "params",
    [{}, {"lr_schedule": "cosine"}, {"lr_per_stage": True, "lr_schedule": "linear"}],
    ids=["poly", "cosine", "per stage"],
)
def test_a_run_goes_as_planned(tmp_path: Path, params: dict[str, Any]) -> None:
    section = {"algorithm": "binarization", "params": PARAMS | params | {"batch_multiplier": 1}}
    config = small_run(tmp_path, compression=section, distillation={"enabled": False})
    planned = planned_epochs(load_config(config))
    history = train(config, tmp_path / "run").history
    assert [(e.phase, e.epoch, e.stage) for e in planned] == [(r.phase, r.epoch, r.stage) for r in history]
    # The last of three steps uses the learning rate from after two thirds of the epoch.
    for epoch, record in zip(planned, history, strict=True):
        assert epoch.lrs[14] <= record.lr * 1.0001
        assert record.lr <= epoch.lrs[13] * 1.0001
    assert [e.weight_decay for e in planned[:-1]] == [r.weight_decay for r in history[:4]] + [1e-5]


def test_the_command_prints_and_draws_the_plan_and_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    demo = str(Path(__file__).parents[2] / "configs" / "demo.json5")
    picture = tmp_path / "plans" / "plan.svg"
    with pytest.raises(SystemExit) as ended:
        main(["train", demo, "--plan-picture", str(picture), "--output", str(tmp_path / "run")])
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "█" in line]) == 6 + 18
    assert "distillation is on: the teacher is the full-precision network" in lines
    assert lines[-1] == f"wrote {picture}"
    text = "".join(ET.parse(picture).getroot().itertext())
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert text is not None
    assert not (tmp_path / "run").exists()
    draw_plan(load_config(demo), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == picture.read_bytes()


def test_a_plan_without_an_end_of_what_changes_is_refused(tmp_path: Path) -> None:
    section = {"algorithm": "binarization", "weights": {"latent": "clamp_quantiles"}}
    with pytest.raises(ConfigError, match=r'progress_epochs: is missing, .*weights.latent "clamp_quantiles"'):
        plan_table(load_config(small_run(tmp_path, compression=section)))
