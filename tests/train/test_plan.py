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


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "distillation is on: the teacher is the full-precision network"),
        ({"distillation": {"teacher": OWN}}, "distillation is on: the teacher is timm:resnet50"),
        ({"distillation": {"enabled": False}}, "distillation is off"),
        ({"distillation": {"weight": 0}}, "distillation is off"),
        ({"optimizer": {"name": "SGD", "momentum": 0.9}}, "the optimizer is SGD (momentum 0.9)"),
        ({"gradient_clip": {"norm": 1}}, "gradients are limited to a norm of 1"),
        ({"precision": "bfloat16"}, "training steps run in bfloat16, evaluations in float32"),
        (
            {"early_stop": {"patience": 5}},
            "the run ends after 5 epochs without a better test_accuracy in the last stage",
        ),
    ],
)
def test_what_a_run_does_besides_is_told(keys: dict[str, Any], expected: str) -> None:
    config = load_config({"compression": {"algorithm": "binarization"}} | keys)
    assert expected in plan_lines(config)
    assert len(plan_lines(config)) == 2 + any("distillation" not in key for key in keys)
