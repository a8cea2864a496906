"""What gets installed is what is in the repository."""

import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from fxbin.tracing.patches.reached import NEWEST_TESTED
from tests.lower_bounds import lower_bounds

ROOT = Path(__file__).parents[1]


def test_every_package_folder_is_installed() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert not options.pop("namespaces")
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "fxbin").rglob("*.py")}
    packages = find_packages(str(ROOT), **options)
    assert {name.replace(".", "/") for name in packages} == folders | {"fxbin/passes"}


def test_sources_of_the_engine_are_installed() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = options["package-data"]["fxbin"]
    sources = [path.relative_to(ROOT / "fxbin") for path in (ROOT / "fxbin/engine/kernels").iterdir()]
    assert len(sources) > 20
    assert [path for path in sources if not any(path.match(pattern) for pattern in patterns)] == []


def test_passes_have_one_name() -> None:
    link = ROOT / "fxbin/passes"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "passes"


@pytest.mark.parametrize("name", ["torch", "pydantic", "json5", "torchvision", "onnxruntime"])
def test_constraints_pin_what_is_tested(name: str) -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert sum(pin.startswith(f"{name}==") for pin in pins) == 1


def test_readme_names_the_versions_of_torch_that_are_tested() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    (oldest,) = (pin.removeprefix("torch==") for pin in lower_bounds() if pin.startswith("torch=="))
    (pinned,) = (
        pin.removeprefix("torch==")
        for pin in (ROOT / "constraints.txt").read_text().splitlines()
        if pin.startswith("torch==")
    )
    assert f"(torch {pinned.removesuffix('.0')})" in readme
    assert f"most recently torch {NEWEST_TESTED}," in readme
    assert f"torch {oldest}.0 among them" in readme
    assert f"| PyTorch ≥ {oldest} |" in readme
