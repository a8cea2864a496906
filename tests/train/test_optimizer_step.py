import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from fxbin.config import load_config
from fxbin.config.optimization import GradientClip
from fxbin.errors import ConfigError, DataError
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.epoch import train_epoch
from fxbin.train.label_loss import LabelLoss
from fxbin.train.optimizer_step import LONGEST_SKIP, OptimizerStep
from fxbin.train.run import train
from tests.train.small_run import MODEL, InterruptedAt, small_run

CPU = torch.device("cpu")


def linear_step(clip: GradientClip | None, gradient: torch.Tensor) -> torch.Tensor:
    """The change of a weight of zeros by SGD with learning rate 1."""
    weight = nn.Parameter(torch.zeros_like(gradient))
    step = OptimizerStep(torch.optim.SGD([weight], lr=1.0), CPU, "float32", clip)
    step.backward((weight * gradient).sum())
    assert step.step()
    return -weight.detach()


def test_gradients_are_limited_by_their_norm_or_element_by_element() -> None:
    gradient = torch.tensor([3.0, -4.0])
    assert torch.equal(linear_step(None, gradient), gradient)
    torch.testing.assert_close(linear_step(GradientClip(norm=1.0), gradient), gradient / 5, rtol=1e-5, atol=0)
    assert torch.equal(linear_step(GradientClip(norm=6.0), gradient), gradient)
    assert torch.equal(linear_step(GradientClip(value=3.5), gradient), torch.tensor([3.0, -3.5]))


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ({}, r'gradient_clip\.norm: is missing: add "norm": 1\.0 or "value": 0\.5'),
        ({"norm": 1, "value": 1}, r'gradient_clip\.value: got 1, expected none beside "norm"'),
        ({"norm": 0}, r"gradient_clip\.norm: got 0, expected a number above 0"),
    ],
)
def test_a_limit_is_one_number_above_0(clip: dict[str, float], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_config({"compression": {"algorithm": "binarization"}, "gradient_clip": clip})


def test_in_16_bits_the_forward_is_autocast_and_weights_stay_in_float32() -> None:
    model = nn.Linear(4, 3)
    seen = []
    model.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    for precision in ("bfloat16", "float16"):
        step = OptimizerStep(torch.optim.SGD(model.parameters(), 0.1), CPU, precision)
        batch = (torch.randn(4, 4), torch.arange(4) % 3)
        meter = train_epoch(model, [batch], LabelLoss(), step)
        assert meter.images == 4
    assert seen == [torch.bfloat16, torch.float16]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_float16_skips_and_counts_steps_that_are_not_finite_and_then_goes_on() -> None:
    model = nn.Linear(4, 3)
    before = copy.deepcopy(model.state_dict())
    step = OptimizerStep(torch.optim.SGD(model.parameters(), 0.1), CPU, "float16", GradientClip(norm=1.0))
    good = (torch.randn(4, 4), torch.arange(4) % 3)
    bad = (torch.full((4, 4), 1e30), good[1])
    train_epoch(model, [bad], LabelLoss(), step)
    assert step.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    scale = (step.state_dict() or {})["scale"]
    assert scale == 2**15
    meter = train_epoch(model, [bad, good], LabelLoss(), step)
    assert (step.skipped, meter.images) == (2, 4)
    assert not torch.equal(model.weight, before["weight"])


def test_skipped_steps_of_a_run_are_in_its_history_and_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A scale that overflows float16 in the first steps.
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=2.0**40))
    progress = InterruptedAt()
    keys = {"precision": "float16", "pretrain": {"epochs": 0}, "epochs": 1, "ema": {"decay": 0.9}}
    (record,) = train(small_run(tmp_path, **keys), tmp_path / "run", progress=progress).history
    assert record.skipped_steps == 2
    assert "float16: 2 optimizer steps skipped, as their gradients were not finite" in progress.notes
    assert record.to_dict()["skipped_steps"] == 2


def test_float16_gives_up_after_many_skipped_steps_in_a_row() -> None:
    model = nn.Linear(4, 3)
    step = OptimizerStep(torch.optim.SGD(model.parameters(), 0.1), CPU, "float16")
    bad = (torch.full((4, 4), 1e30), torch.arange(4) % 3)
    with pytest.raises(DataError, match='precision: with "float16", the gradients of 30 steps in a row were'):
        train_epoch(model, [bad] * LONGEST_SKIP, LabelLoss(), step)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_run_in_16_bits_goes_through_all_stages_and_resumes_with_the_same_numbers(
    tmp_path: Path, precision: str
) -> None:
    config = small_run(tmp_path, precision=precision, channels_last=True)
    whole = train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", progress=InterruptedAt(13))
    parts = train(config, tmp_path / "parts")
    assert all(
        torch.equal(value, parts.model.state_dict()[name]) for name, value in whole.model.state_dict().items()
    )
    assert [record.skipped_steps is None for record in whole.history] == [precision == "bfloat16"] * 6
    assert all(switched == (True, True) for switched in whole.model.binarization.enabled.values())
    full = train(small_run(tmp_path), tmp_path / "float32")
    losses = [[record.loss for record in run.history] for run in (whole, full)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    scaler = load_checkpoint(tmp_path / "whole" / "checkpoint.pt").scaler
    assert (scaler is not None) == (precision == "float16")


def test_channels_last_changes_the_layout_and_no_result(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    # Its mask is drawn in the order of memory.
    (tmp_path / "net.py").write_text(MODEL.replace("nn.Dropout(0.3), ", ""))
    plain = train(config, tmp_path / "plain")
    other = train(small_run(tmp_path, channels_last=True), tmp_path / "other")
    weights = [parameter for parameter in other.model.parameters() if parameter.dim() == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert [r.loss for r in plain.history] == pytest.approx([r.loss for r in other.history], rel=1e-3)
    saved = load_checkpoint(tmp_path / "other" / "checkpoint.pt").model
    assert saved.keys() == load_checkpoint(tmp_path / "plain" / "checkpoint.pt").model.keys()
