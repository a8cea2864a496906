import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from fxbin.errors import ConfigError
from fxbin.train import model_spec
from fxbin.train.model_spec import build_model, import_library
from fxbin.train.models import ResNetThin

SOURCE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(width, num_classes)

def make_number():
    return 3

def needs(argument):
    return argument

def fails(num_classes):
    return {}["width"]

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def source_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return path


def test_own_models_take_classes_and_channels() -> None:
    model = build_model("resnet_thin", num_classes=5, in_channels=3)
    assert isinstance(model, ResNetThin)
    assert model(torch.randn(1, 3, 16, 16)).shape == (1, 5)


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "resnet18"])
def test_torchvision_models_go_by_both_names(spec: str) -> None:
    pytest.importorskip("torchvision")
    model = build_model(spec, num_classes=7)
    assert isinstance(model.fc, nn.Linear)
    assert model.fc.out_features == 7


def test_timm_gets_options_under_its_own_names() -> None:
    pytest.importorskip("timm")
    model = build_model("timm:resnet10t", num_classes=4, in_channels=1)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 4)


def test_pytorchcv_models_are_built() -> None:
    pytest.importorskip("pytorchcv.model_provider")
    model = build_model("pytorchcv:resnet20_cifar10", num_classes=100)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 100)


def test_a_class_in_a_file_gets_the_options_it_has(source_file: Path) -> None:
    model = build_model(f"{source_file}:Net", num_classes=6, in_channels=1, params={"width": 2})
    assert isinstance(model.fc, nn.Linear)
    assert tuple(model.fc.weight.shape) == (6, 2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet_thim", r"'resnet_thim' is not known \(closest: resnet_thin"),
        ("torchvision:resnet19", r"closest: .*resnet18"),
        ("keras:resnet", "names the library 'keras', expected torchvision, timm, pytorchcv or a Python file"),
        ("none.py:Net", r"the file none\.py does not exist \(looked from"),
    ],
)
def test_a_wrong_name_gets_its_near_misses(spec: str, message: str) -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(ConfigError, match=message):
        build_model(spec)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nett", r"has no function or class 'Nett' \(it has: Net\)"),
        ("make_number", "gave a int, expected a torch.nn.Module"),
        ("fails", r"cannot be built with \(num_classes=10\): KeyError: 'width' \(.*\.py:\d+\)"),
        ("leaves", r"cannot be built with \(\): SystemExit: 3 \(.*\.py:\d+\)"),
        ("needs", r"cannot be built with \(\): TypeError: needs\(\) missing 1 required positional argument"),
    ],
)
def test_a_file_with_something_else_says_so(source_file: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(f"{source_file}:{name}", num_classes=10 if name == "fails" else None)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_spec, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"'timm:resnet18' needs the package timm: `pip install timm`"):
        build_model("timm:resnet18")


def test_own_models_have_no_pretrained_weights() -> None:
    with pytest.raises(ConfigError, match="'resnet_thin' has no pretrained weights"):
        build_model("resnet_thin", pretrained=True)


@pytest.mark.parametrize(
    ("text", "shown"), [("`torch.jit.script` is deprecated. Please switch.", 0), ("weights are old", 1)]
)
def test_what_a_library_scripts_on_import_is_no_warning_to_users(
    text: str, shown: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library_that_warns.py").write_text(
        f"import warnings\nwarnings.warn({text!r}, FutureWarning)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        import_library("library_that_warns", "library_that_warns:net")
    del sys.modules["library_that_warns"]
    assert len(warned) == shown
