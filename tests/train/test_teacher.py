from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fxbin
from fxbin import load_config
from fxbin.errors import ConfigError
from fxbin.train.data import ImageData
from fxbin.train.models import resnet_thin
from fxbin.train.teacher import own_teacher

PICTURES = ImageData(
    "mnist", torch.rand(3, 1, 28, 28), torch.arange(3), torch.rand(2, 1, 28, 28), torch.arange(2), classes=10
)
WEIGHTS = "distillation.teacher.state_dict"
MODEL = "distillation.teacher.model"


def teacher_of(teacher: dict[str, Any], **distillation: Any) -> nn.Module | None:
    config = {
        "input_info": {"sample_size": [1, 1, 28, 28]},
        "num_classes": 10,
        "compression": {"algorithm": "binarization"},
        "distillation": {"teacher": teacher, **distillation},
    }
    found = own_teacher(load_config(config), PICTURES, None)
    return None if found is None else found.network


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.pt"
    torch.save(resnet_thin().state_dict(), path)
    return path


def test_a_teacher_has_the_weights_of_its_file_and_draws_no_random_numbers(weights: Path) -> None:
    state = torch.random.get_rng_state()
    teacher = teacher_of({"model": "resnet_thin", "state_dict": str(weights)})
    assert torch.equal(state, torch.random.get_rng_state())
    assert teacher is not None
    assert not teacher.training
    expected = torch.load(weights)
    assert all(torch.equal(value, expected[name]) for name, value in teacher.state_dict().items())


def test_a_function_of_ones_own_may_load_the_weights_itself(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))"
    )
    teacher = teacher_of({"model": f"{tmp_path / 'net.py'}:make"})
    assert isinstance(teacher, nn.Sequential)


def test_disabled_distillation_needs_no_teacher() -> None:
    assert teacher_of({"model": "resnet_thin", "state_dict": "nowhere.pt"}, enabled=False) is None


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"model": "resnet_thin"}, rf'{MODEL}: got "resnet_thin", expected a trained teacher.*"state_dict"'),
        ({"state_dict": "a.pt"}, rf'{MODEL}: is missing: add for example "model"'),
        ({"model": "resnet_thin", "state_dicts": "a.pt"}, 'teacher.state_dicts: .*Did you mean "state_dict"'),
        ({"model": "resnet_thi", "state_dict": "a.pt"}, rf"{MODEL}: 'resnet_thi' is not known.*resnet_thin"),
        (
            {"model": "resnet_thin", "checkpoint": "a.pt"},
            "teacher.checkpoint: .* none beside 'model'. Keep",
        ),
        (
            {"checkpoint": "a.pt", "pretrained": True},
            "teacher.pretrained: .* none beside 'checkpoint'. It",
        ),
        (
            {"previous_stage": True, "network": "binarized"},
            "teacher.network: .* expected none without",
        ),
        ({"checkpoint": "a.pt"}, "distillation.teacher.checkpoint: 'a.pt': checkpoint a.pt does not exist"),
        ({"model": "resnet_thin", "state_dict": "a.pt"}, rf"{WEIGHTS}: the file a.pt does not exist"),
        ({"model": "resnet_thin", "pretrained": True}, rf"{MODEL}: 'resnet_thin' has no pretrained weights"),
    ],
)
def test_what_is_wrong_with_a_teacher_is_named(teacher: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        teacher_of(teacher)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "cannot be read"),
        (b"\x80\x02.", "cannot be read: IndexError"),
        ([1, 2], "does not hold tensors by name"),
        ({"fc.weight": torch.zeros(1)}, "belongs to another network"),
    ],
)
def test_a_file_without_the_weights_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "teacher.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=f"{WEIGHTS}: .*teacher.pt {message}"):
        teacher_of({"model": "resnet_thin", "state_dict": str(path)})


def test_the_weights_of_a_transformed_model_are_told(tmp_path: Path) -> None:
    config = {"input_info": {"sample_size": [1, 1, 28, 28]}, "compression": {"algorithm": "binarization"}}
    path = tmp_path / "teacher.pt"
    torch.save(fxbin.transform(resnet_thin(), config).state_dict(), path)
    with pytest.raises(
        ConfigError, match=f"{WEIGHTS}: .* belongs to a model that fxbin.transform returned, but"
    ):
        teacher_of({"model": "resnet_thin", "state_dict": str(path)})


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    torch.save(resnet_thin(num_classes=7).state_dict(), path)
    with pytest.raises(
        ConfigError, match=rf"{MODEL}: 'resnet_thin': expected logits of shape \(2, 10\).*2, 7"
    ):
        teacher_of({"model": "resnet_thin", "model_params": {"num_classes": 7}, "state_dict": str(path)})
