"""A whole recorded NNCF 2.9 training run, replayed through the public API."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxbin
from fxbin.schedule import StagedSchedule
from fxbin.state import Stage

STAGES = [Stage.FULL_PRECISION, Stage.ACTIVATIONS, Stage.ANNEALING]


class TinyBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            conv = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class TinyResNet(nn.Module):
    """Two stages of two blocks, 20 k parameters: the network of the recorded runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(TinyBlock(12, 12), TinyBlock(12, 12))
        self.layer2 = nn.Sequential(TinyBlock(12, 20, 2), TinyBlock(20, 20))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        y: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return y


def distillation(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Soft cross entropy at temperature 1, as the recorded run has it."""
    return -(F.log_softmax(logits, 1) * F.softmax(teacher_logits, 1)).mean() * logits.shape[1]


@pytest.mark.parametrize("mode", ["xnor", "dorefa"])
def test_recorded_training_run_is_replayed(mode: str) -> None:
    path = Path(__file__).parent / "data" / f"nncf_tiny_{mode}_plain.pth"
    recorded: dict[str, Any] = torch.load(path, weights_only=True)
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
