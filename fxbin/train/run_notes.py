"""What a page says about its run: how far it is, and which accuracies are missing, and why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fxbin.errors.messages import listed
from fxbin.train.build import config_of
from fxbin.train.checkpoint import Checkpoint
from fxbin.train.history import PRETRAINING

RUNTIMES = {"onnx": "onnxruntime", "engine": "the deployed network", "openvino": "OpenVINO"}
"""Sections of `report.json` with the accuracy in a runtime, and what they are called."""


def notes_on_progress(checkpoint: Checkpoint) -> list[str]:
    """Where the run is, if it is not between two epochs of its stages."""
    notes = []
    if checkpoint.phase == PRETRAINING:
        notes.append(
            "The run is in its pretraining, in full precision: layers are shown as they will be binarized."
        )
    if checkpoint.position is not None:
        notes.append(
            f"The checkpoint was written within epoch {checkpoint.epoch + 2} of the phase "
            f"{checkpoint.phase!r}, of which nothing is recorded yet."
        )
    return notes


def notes_without_result(file: Path, last: Checkpoint | None, *, is_best: bool, is_stale: bool) -> list[str]:
    """Why there are no accuracies in other runtimes beside those of the checkpoint `file`.

    `last` is the last checkpoint of its run, None if that is not known. `is_stale` says that there is a
    `report.json`, but of another training.
    """
    why = f"There is no report.json beside {file.name}"
    if is_stale:
        why = "report.json is left out, as it is of another training than the checkpoint, or of other epochs"
    if last is None:
        return [f"The accuracies in other runtimes are not known. {why}."]
    if _is_finished(last, file):
        return [f"The accuracies in other runtimes are not known. {why}: `fxbin train` again writes it."]
    shown = "the best of its epochs so far" if is_best else "its last checkpoint"
    return [f"The run has not finished: {shown} is shown. {why}."]


def notes_on_earlier_epoch(result: Mapping[str, Any]) -> list[str]:
    """Which accuracies of `result`, a `report.json`, are not those of an epoch before the last one."""
    sections = {name: result.get(section) or {} for section, name in RUNTIMES.items()}
    names = [name for name, section in sections.items() if section.get("accuracy") is not None]
    if not names:
        return []
    return [f"Left out are the accuracies in {listed(names)}: report.json has those of the last epoch only."]


def _is_finished(last: Checkpoint, file: Path) -> bool:
    """Whether no epoch is left after `last`, the last checkpoint of the run that `file` is of."""
    if last.phase == PRETRAINING or last.position is not None:
        return False
    stopped_early = bool(last.history and last.history[-1].get("stopped_early"))
    return stopped_early or last.epoch + 1 >= config_of(last, file).epochs
