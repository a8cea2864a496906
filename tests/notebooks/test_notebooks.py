"""The notebooks run from top to bottom, with small settings, and have the outputs of a run with their own."""

from pathlib import Path
from typing import Any

import pytest

from fxbin.engine.library import Engine

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("PIL")

from tools.run_notebooks import NOTEBOOKS, code_of, digest, noted_digest, read, run

SMALL: dict[str, dict[str, Any]] = {
    "own_binarizer": {
        "SEEDS": [0],
        "TRAIN_IMAGES": 100,
        "TEST_IMAGES": 200,
        "FLOAT_EPOCHS": 1,
        "EPOCHS": 3,
        "DECAY_FROM": 2,
    },
    "own_cnn": {
        "TRAIN_IMAGES": 100,
        "TEST_IMAGES": 50,
        "FLOAT_EPOCHS": 1,
        "EPOCHS": 4,
        "ACTIVATIONS_FROM": 1,
        "WEIGHTS_FROM": 2,
        "DECAY_FROM": 3,
    },
    "own_pictures": {
        "DRAWN": 5,
        "SIZE": 32,
        "FLOAT_EPOCHS": 1,
        "EPOCHS": 4,
        "ACTIVATIONS_FROM": 1,
        "WEIGHTS_FROM": 2,
        "DECAY_FROM": 3,
    },
}
"""Settings with which a notebook runs in seconds."""

NEEDS = {
    "own_binarizer": ("mlxtend", "matplotlib", "onnxruntime"),
    "own_cnn": ("mlxtend", "matplotlib", "onnxruntime"),
    "own_pictures": ("timm", "matplotlib", "onnxruntime", "torchvision"),
}
"""Packages of the extras, and those without one, that a notebook imports."""

LARGEST = 500_000
"""Bytes of a notebook with its outputs."""

FILES = [pytest.param(path, id=path.stem) for path in NOTEBOOKS]


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def shown(cell: Any) -> list[Any]:
    """What the last line of the cell shows, without pictures."""
    return [dict(output.data) for output in cell.outputs if output.output_type == "execute_result"]


def test_each_has_small_settings() -> None:
    assert SMALL.keys() == NEEDS.keys() == {path.stem for path in NOTEBOOKS}


@pytest.mark.timeout(900)  # commands are processes that each import torch
@pytest.mark.parametrize("path", FILES)
def test_runs_from_top_to_bottom_without_a_warning(
    path: Path, tmp_path: Path, built: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in NEEDS[path.stem]:
        pytest.importorskip(package)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    kept = code_of(read(path))
    for own, cell in zip(code_of(run(path, tmp_path, SMALL[path.stem], time_limit=600)), kept, strict=True):
        warned = [output.text for output in own.outputs if output.get("name") == "stderr"]
        assert warned == [], own.source
        assert bool(own.outputs) == bool(cell.outputs), own.source
        if "same-output" in cell.metadata.get("tags", ()):
            assert (printed(own), shown(own)) == (printed(cell), shown(cell)), "run `make notebooks`"


@pytest.mark.parametrize("path", FILES)
def test_outputs_are_those_of_the_code(path: Path) -> None:
    notebook = read(path)
    assert noted_digest(notebook) == digest(notebook), "run `make notebooks`"
    counts = [cell.execution_count for cell in code_of(notebook)]
    assert counts == [*range(1, len(counts) + 1)]


@pytest.mark.parametrize("path", FILES)
def test_file_is_small(path: Path) -> None:
    assert path.stat().st_size < LARGEST


def test_unknown_setting_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="EPOCH not in the cell with settings"):
        run(NOTEBOOKS[0], tmp_path, {"EPOCH": 1})
