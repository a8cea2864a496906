"""A whole recorded NNCF 2.9 training run, replayed through the public API."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fxbin
from fxbin.binarized.state import Stage
from fxbin.staged.schedule import StagedSchedule
from tests.tiny_resnet import TinyResNet
from tests.zoo import DATA

STAGES = [Stage.FULL_PRECISION, Stage.ACTIVATIONS, Stage.ANNEALING]


def distillation(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Soft cross entropy at temperature 1, as the recorded run has it."""
    return -(F.log_softmax(logits, 1) * F.softmax(teacher_logits, 1)).mean() * logits.shape[1]


@pytest.mark.parametrize("mode", ["xnor", "dorefa"])
def test_recorded_training_run_is_replayed(mode: str) -> None:
    """In one of PyTorch's two ways to sum a convolution, to 1e-5 at every step.

    Which one it is depends on the processor: where a sum is rounded differently, a value next to its
    threshold changes sides sooner or later, and from there on the losses differ visibly.
    """
    path = DATA / f"nncf_tiny_{mode}_plain.pth"
    recorded: dict[str, Any] = torch.load(path, weights_only=True)
    try:
        replay(recorded)
    except AssertionError as with_onednn:
        with onednn_disabled():
            try:
                replay(recorded)
            except AssertionError as error:
                raise error from with_onednn


@contextmanager
def onednn_disabled() -> Iterator[None]:
    """`torch.backends.mkldnn.flags(enabled=False)`, without its warning about GPUs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN", UserWarning)
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def replay(recorded: dict[str, Any]) -> None:
    original = TinyResNet()
    original.load_state_dict(recorded["initial_state_dict"])
    teacher = copy.deepcopy(original).eval()

    model = fxbin.transform(original, recorded["config"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    schedule = StagedSchedule(model, optimizer)
    steps = iter(recorded["trajectory"])
    for epoch in range(3):
        schedule.start_epoch(epoch)
        model.train()
        for i, (x, y) in enumerate(zip(recorded["train_x"], recorded["train_y"], strict=True)):
            expected = next(steps)
            logits = model(x)
            with torch.no_grad():
                teacher_logits = teacher(x)
            hard, soft = F.cross_entropy(logits, y), distillation(logits, teacher_logits)
            assert hard.item() == pytest.approx(expected["ce"], abs=1e-5)
            assert soft.item() == pytest.approx(expected["kd"], abs=1e-5)
            optimizer.zero_grad()
            (hard + soft).backward()
            optimizer.step()
            schedule.step(i / 6)  # NNCF counts the batches before this one
            assert schedule.get_last_lr() == pytest.approx([expected["lr_after"]], rel=1e-9)
            assert optimizer.param_groups[0]["weight_decay"] == expected["wd_after"]
        assert schedule.stage == STAGES[epoch]
        model.eval()
        with torch.no_grad():
            difference = model(recorded["input"]) - recorded["snapshots"][epoch]["eval_output"]
        assert difference.abs().max() < 1e-5
    with torch.no_grad():
        assert (model(recorded["input"]) - recorded["eval_output"]).abs().max() < 1e-5
