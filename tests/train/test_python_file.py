"""Python files that a config names, and what they register."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

import fxbin
from fxbin.binarizers import parts, registry
from fxbin.errors import ConfigError
from fxbin.train.checks import check
from fxbin.train.python_file import load_callable
from fxbin.train.settings import read_settings

SOURCE = """
from dataclasses import dataclass

import fxbin
from torch import nn

from beside import CHANNELS

@fxbin.register_weight_binarizer("own_mode")
def own(shape, params):
    return fxbin.XNORWeightBinarizer()

@fxbin.register_activation_binarizer("own_mode")
def own_activation(channels, params):
    return fxbin.ActivationBinarizer(channels)

@fxbin.register_estimator("own_estimator")
@dataclass(frozen=True)
class Own(fxbin.Estimator):
    def derivative(self, u, progress):
        return u.abs() <= 1

def make(num_classes=10):
    return nn.Sequential(nn.Conv2d(1, CHANNELS, 3), nn.Flatten())
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file, whose registrations and search path end with the test."""
    monkeypatch.setattr(parts.estimators, "_parts", dict(parts.estimators._parts))
    for name in ("_weight_factories", "_activation_factories"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    (tmp_path / "beside.py").write_text("CHANNELS = 4")
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    return path


def config(file: Path, **keys: Any) -> dict[str, Any]:
    section = {"algorithm": "binarization", "mode": "own_mode", "activations": {"estimator": "own_estimator"}}
    shape = {"sample_size": [1, 1, 8, 8]}
    return {"model": f"{file}:make", "input_info": shape, "compression": section} | keys


def test_what_a_model_file_registers_is_known_to_the_config(file: Path) -> None:
    with pytest.raises(ConfigError, match="own_mode"):
        fxbin.load_config(config(file))
    assert read_settings(config(file)).binarization.mode == "own_mode"
    found = check(config(file, compression={"algorithm": "binarization", "mode": "own_mode"}))
    assert found.problems == ()
    assert "1 of 1 conv2d are binarized" in found.notes


def test_a_file_is_run_once_unless_it_changes(file: Path) -> None:
    first = load_callable(file, "make", "own.py:make")
    assert load_callable(file, "make", "own.py:make") is first
    file.write_text(f"{SOURCE}\n# changed")
    assert load_callable(file, "make", "own.py:make") is not first


def test_what_is_registered_again_replaces_the_one_before(file: Path) -> None:
    load_callable(file, "make", "own.py:make")
    # The user's own code may have imported the same file under its name.
    spec = spec_from_file_location("own", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["own"] = module
    try:
        for _ in range(2):
            spec.loader.exec_module(module)
        estimator = parts.estimators.make("own_estimator")
        assert type(estimator) is module.Own
        spec.loader.exec_module(module)
        assert parts.estimators.name_of(estimator) == "own_estimator"
    finally:
        del sys.modules["own"]
    other = file.with_name("other.py")
    other.write_text(SOURCE)
    with pytest.raises(ConfigError, match="'own_mode' is registered already"):
        load_callable(other, "make", "other.py:make")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def make(:", r"cannot be imported: SyntaxError: invalid syntax"),
        ("import nothing_of_that_name", r"cannot be imported: ModuleNotFoundError: .* \(.*:1\)"),
        ("x = 1\n\nx.y", r"cannot be imported: AttributeError: .* \(.*:3\)"),
        ("raise SystemExit(3)", r"cannot be imported: SystemExit: 3 \(.*:1\)"),
        ("make = 3", r"has no function or class 'make' \(it has: none\)"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(file: Path, source: str, message: str) -> None:
    file.write_text(source)
    with pytest.raises(ConfigError, match=message):
        read_settings(config(file, compression={"algorithm": "binarization"}))
    (problem,) = check(config(file, compression={"algorithm": "binarization"})).problems
    assert str(file) in problem
