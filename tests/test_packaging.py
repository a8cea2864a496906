"""What gets installed is what is in the repository."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from setuptools import find_packages
from setuptools.command.egg_info import FileList

from fxbin.engine.compiler import find_compilers
from fxbin.tracing.patches.reached import NEWEST_TESTED
from tests.lower_bounds import lower_bounds
from tests.quick_compiler import quick_compiler
from tools.release_notes import main as print_release_notes
from tools.release_notes import notes, sections

ROOT = Path(__file__).parents[1]


def test_every_package_folder_is_installed() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert not options.pop("namespaces")
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "fxbin").rglob("*.py")}
    packages = find_packages(str(ROOT), **options)
    assert {name.replace(".", "/") for name in packages} == folders | {"fxbin/passes"}


def test_sources_of_the_engine_and_of_the_report_are_installed() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = options["package-data"]["fxbin"]
    sources = [path.relative_to(ROOT / "fxbin") for path in (ROOT / "fxbin/engine/kernels").iterdir()]
    assert len(sources) > 20
    assets = [*(ROOT / "fxbin/report/html").glob("*.css"), *(ROOT / "fxbin/report/html").glob("*.js")]
    assert len(assets) == 3
    sources += [path.relative_to(ROOT / "fxbin") for path in assets]
    assert [path for path in sources if not any(path.match(pattern) for pattern in patterns)] == []


def test_source_distribution_holds_what_the_readme_links_to() -> None:
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / "README.md").read_text())
    linked += re.findall(r"configs/\w+\.json5", (ROOT / "README.md").read_text())
    assert len(linked) > 20
    held = FileList()
    held.allfiles = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("*") if path.is_file()]
    folders = [ROOT / name for name in ("configs", "docs", "examples", "notebooks", "tests")]
    held.allfiles += [path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*")]
    for line in (ROOT / "MANIFEST.in").read_text().splitlines():
        if line and not line.startswith("#"):
            held.process_template_line(line)
    # Which setuptools adds itself.
    missing = {*linked} - {*held.files} - {"LICENSE"}
    assert missing == set()
    assert not [name for name in held.files if name.startswith("tests/")]


@pytest.fixture
def wheel(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A wheel built from a copy of the sources, with a compiler that does not optimize, or with none."""
    copied = tmp_path / "copied"
    for name in ("fxbin", "passes"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copied / name, symlinks=True, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, copied)
    command = quick_compiler(tmp_path) if request.param else "/nowhere/cc"
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path, copied)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", *options],
        env=os.environ | {"CC": command},
        check=True,
        capture_output=True,
    )
    (made,) = tmp_path.glob("*.whl")
    return made


@pytest.mark.skipif(not find_compilers(), reason="no C compiler")
@pytest.mark.parametrize("wheel", [True], indirect=True)
def test_wheel_holds_the_engine_for_any_python(wheel: Path, tmp_path: Path) -> None:
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    assert sys.platform != "linux" or "manylinux_2_" in wheel.name
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    code = (
        "from fxbin.engine.build import built_library; from fxbin.engine.library import Engine;"
        "path = built_library(); print(path); print(Engine(path).kernels)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": "/nowhere", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    path, kernels = found.stdout.splitlines()
    assert Path(path).parent == tmp_path / "installed/fxbin/engine"
    assert "portable" in kernels


@pytest.mark.parametrize("wheel", [False], indirect=True)
def test_wheel_without_a_compiler_holds_the_sources(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.endswith(".so")]
    assert "fxbin/engine/kernels/epilogue.c" in names
    assert "fxbin/passes/base.py" in names


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


def test_classifiers_name_the_pythons_that_the_readme_says_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [name.rpartition(" :: ")[2] for name in project["classifiers"] if "Python :: 3." in name]
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"Python {', '.join(named[:-1])} and {named[-1]}" in readme


def test_source_distribution_has_no_half_of_the_tests() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text().splitlines()
    assert "prune tests" in manifest
    (included,) = (line.split()[1:] for line in manifest if line.startswith("include "))
    assert [name for name in included if not (ROOT / name).exists()] == []


def test_citation_has_what_its_format_requires() -> None:
    keys = re.findall(r"^([\w-]+):", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert {"authors", "cff-version", "message", "title"} <= set(keys)
    assert "version" not in keys  # pyproject.toml has it, alone


CHANGES = """# Changelog

## Unreleased

### Added

- One thing
  in two lines, see [docs](docs/x.md).
- Another.

## 0.1.0 - 2026-01-01

First.
"""


def test_release_notes_are_a_section_of_the_changelog() -> None:
    found = sections(CHANGES)
    assert list(found) == ["Unreleased", "0.1.0"]
    assert found["0.1.0"] == "First."
    assert notes(found["Unreleased"]) == "### Added\n\n- One thing in two lines, see docs.\n- Another."


def test_release_notes_of_an_unknown_version_are_an_error() -> None:
    with pytest.raises(SystemExit, match=r"version: got '9.9', expected one of CHANGELOG.md: Unreleased"):
        print_release_notes(["9.9"])
