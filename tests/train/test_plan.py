from typing import Any

import pytest

from fxbin.config import load_config
from fxbin.train.plan import plan_lines

USUAL = "the full-precision network: cross entropy with the predictions"
OWN = {"model": "timm:resnet50", "pretrained": True}


@pytest.mark.parametrize(
    ("keys", "loss"),
    [
        ({}, f"from labels; from {USUAL}"),
        ({"distillation": {"enabled": False}, "label_smoothing": 0.1}, "from labels (smoothing 0.1)"),
        ({"distillation": {"weight": 0}}, "from labels"),
        (
            {"distillation": {"type": "mse", "label_weight": 0, "weight": 0.5}},
            "from the full-precision network: squared error of the logits, times 0.5",
        ),
        (
            {"distillation": {"label_weight": 0.5, "teacher": OWN, "type": "kl", "temperature": 2}},
            "from labels, times 0.5; from timm:resnet50: divergence from the predictions at temperature 2",
        ),
    ],
)
def test_the_loss_in_words(keys: dict[str, Any], loss: str) -> None:
    config = load_config({"compression": {"algorithm": "binarization"}} | keys)
    assert plan_lines(config)[0] == f"the stages learn {loss}"
