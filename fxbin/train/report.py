"""`report.json`: the accuracies of a run, and the versions of the packages it used."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fxbin.train.history import PRETRAINING, EpochRecord, accuracy_after_stages

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


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write `report` to `path` as indented JSON."""
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
