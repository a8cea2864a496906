"""What gets installed is what is in the repository."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_package_folder_is_installed() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "fxbin").rglob("*.py")}
    assert {name.replace(".", "/") for name in setuptools["packages"]} == folders | {"fxbin/passes"}


def test_passes_have_one_name() -> None:
    link = ROOT / "fxbin/passes"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "passes"


@pytest.mark.parametrize("name", ["torch", "pydantic", "json5", "torchvision", "onnxruntime"])
def test_constraints_pin_what_is_tested(name: str) -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert sum(pin.startswith(f"{name}==") for pin in pins) == 1
