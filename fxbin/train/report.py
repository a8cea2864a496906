"""`report.json`: the accuracies of a run, and the versions of the packages it used."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fxbin.atomic_write import replace_file
from fxbin.errors import DataError
from fxbin.train.history import PRETRAINING, EpochRecord, accuracy_after_stages

_REPAIR = "Run `fxbin train` again, which rewrites it, or remove it."
"""What to do about a damaged file."""

PACKAGES = ("fxbin", "torch", "numpy", "onnx", "onnxruntime", "openvino")


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that affect the numbers; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def full_precision_accuracy(history: Sequence[EpochRecord]) -> float | None:
    """Held-out accuracy after the last epoch in full precision, in per cent; None if there was none."""
    pretrained = [record.test_accuracy for record in history if record.phase == PRETRAINING]
    return pretrained[-1] if pretrained else None


def accuracies(history: Sequence[EpochRecord], final: float, onnxruntime: float | None) -> dict[str, Any]:
    """Held-out accuracies of a run for `report.json`, in per cent; None for those not measured."""
    staged = [record for record in history if record.phase != PRETRAINING]
    return {
        "full_precision": full_precision_accuracy(history),
        "after_stage": accuracy_after_stages(staged),
        "final": final,
        "onnxruntime": onnxruntime,
    }


def read_report(folder: Path) -> dict[str, Any] | None:
    """The content of `report.json` in `folder`; None if there is none.

    Raises DataError if it is damaged.
    """
    path = folder / "report.json"
    if not path.is_file():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}. {_REPAIR}") from error
    if not isinstance(report, dict):
        raise DataError(f"{path}: expected the report of a run, got a {type(report).__name__}. {_REPAIR}")
    for key in ("accuracy", "onnx", "engine", "openvino", "ema"):
        if not isinstance(report.get(key), dict | None):
            raise DataError(f"{path}: {key}: expected an object, got {report[key]!r}. {_REPAIR}")
    history = report.get("history", [])
    if not isinstance(history, list) or not all(isinstance(record, dict) for record in history):
        raise DataError(f"{path}: history: expected a list of epochs, got {history!r:.60}. {_REPAIR}")
    if not isinstance(report.get("training_seconds"), int | float | None):
        raise DataError(
            f"{path}: training_seconds: expected a number, got {report['training_seconds']!r}. {_REPAIR}"
        )
    return report


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write `report` to `path` as indented JSON; a crash leaves the old file or the new one."""
    replace_file(path, json.dumps(report, indent=2, allow_nan=False) + "\n")
